//! Waiting for a socket and for other threads at once.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Wakes the one thread that waits with it. A wake before the wait counts.
#[derive(Debug)]
pub(crate) struct Waker {
    ring: UnixStream,
    bell: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (ring, bell) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        Ok(Self { ring, bell })
    }

    pub(crate) fn wake(&self) {
        // A full buffer means that many wakes are waiting already.
        let _ = (&self.ring).write(&[1]);
    }

    fn drain(&self) {
        let mut sink = [0; 64];
        while matches!((&self.bell).read(&mut sink), Ok(count) if count == sink.len()) {}
    }

    /// Waits until woken, the time is over, or `socket` is ready as asked; returns how it is ready.
    pub(crate) fn wait(
        &self,
        socket: Option<(BorrowedFd<'_>, PollFlags)>,
        timeout: Option<Duration>,
    ) -> io::Result<PollFlags> {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().min(1 << 30) as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        let bell = PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN);
        let (rung, ready, outcome) = match socket {
            Some((fd, flags)) => {
                let mut fds = [bell, PollFd::from_borrowed_fd(fd, flags)];
                let outcome = poll(&mut fds, timeout.as_ref());
                (fds[0].revents(), fds[1].revents(), outcome)
            }
            None => {
                let mut fds = [bell];
                let outcome = poll(&mut fds, timeout.as_ref());
                (fds[0].revents(), PollFlags::empty(), outcome)
            }
        };
        match outcome {
            Ok(_) if !rung.is_empty() => self.drain(),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(ready)
    }
}
