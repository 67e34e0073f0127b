//! The thread of a lane: dials, writes what the senders could not, notices when the peer is gone.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IoSlice;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use little_raft_core::message::Class;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use crate::dial::{DialError, dial};
use crate::lane::{Lane, Orders};
use crate::shared::Shared;
use crate::{Options, Reason, Refusal, Side};

/// Runs until the lane is stopped.
pub(crate) fn run(lane: &Lane, shared: &Shared) {
    let mut backoff = Backoff::new(&shared.options);
    while wait_for_need(lane, shared) {
        match dial(lane, shared) {
            Ok(stream) => {
                let made = Instant::now();
                serve(lane, shared, Arc::new(stream));
                shared.count_dropped(lane.down());
                backoff.ended_after(made.elapsed());
            }
            Err(error) => {
                shared.count_dropped(lane.clear());
                backoff.failed();
                if let DialError::Refused(refusal) = error {
                    backoff.refused();
                    shared.refuse(refusal);
                }
            }
        }
        if lane.is_stopped() {
            return;
        }
        shared.handler.unreachable(lane.peer);
        if !pause(lane, shared, backoff.next()) {
            return;
        }
    }
}

/// Snapshots are rare: their connection is made when there is one to send. Returns false when stopped.
fn wait_for_need(lane: &Lane, shared: &Shared) -> bool {
    loop {
        let orders = lane.take_orders();
        report(lane, shared, orders);
        if orders.stop {
            return false;
        }
        if lane.class != Class::Snapshot || !lane.is_idle() {
            return true;
        }
        if lane.waker.wait(None, None).is_err() {
            return false;
        }
    }
}

/// Waits before the next dial, unless there is reason to hurry. Returns false when stopped.
fn pause(lane: &Lane, shared: &Shared, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    loop {
        let orders = lane.take_orders();
        report(lane, shared, orders);
        if orders.stop {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || orders.hurry || orders.redial {
            return true;
        }
        if lane.waker.wait(None, Some(left)).is_err() {
            return false;
        }
    }
}

fn report(lane: &Lane, shared: &Shared, orders: Orders) {
    if let Some(bytes) = orders.too_big {
        shared.refuse(Refusal {
            side: Side::Dialing,
            peer: Some(lane.peer),
            address: "its address".into(),
            reason: Reason::TooBig {
                bytes,
                limit: shared.options.max_frame_bytes,
            },
        });
    }
    if orders.lost {
        shared.handler.unreachable(lane.peer);
    }
}

/// Writes what waits until the connection ends or is of no more use.
fn serve(lane: &Lane, shared: &Shared, stream: Arc<TcpStream>) {
    lane.up(Arc::clone(&stream));
    let mut batch = VecDeque::new();
    let mut moved = Instant::now();
    loop {
        let was_idle = batch.is_empty();
        let orders = lane.take(&mut batch);
        report(lane, shared, orders);
        if orders.stop || orders.redial || orders.broken {
            return;
        }
        if was_idle {
            moved = Instant::now();
        }
        if !batch.is_empty() {
            match write(&stream, &mut batch) {
                Ok(()) => {
                    moved = Instant::now();
                    continue;
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(_) => return,
            }
        }
        if !wait(lane, &stream, &batch, moved + shared.options.stall_timeout) {
            return;
        }
    }
}

/// Waits until there is more to do; false if the connection is done for.
fn wait(lane: &Lane, stream: &TcpStream, batch: &VecDeque<Bytes>, stalled: Instant) -> bool {
    let (mut flags, mut timeout) = (PollFlags::IN, None);
    if !batch.is_empty() {
        flags |= PollFlags::OUT;
        timeout = Some(stalled.saturating_duration_since(Instant::now()));
    }
    if timeout == Some(Duration::ZERO) {
        return false;
    }
    let socket = (stream.as_fd(), flags);
    match lane.waker.wait(Some(socket), timeout) {
        Ok(ready) if ready.intersects(!PollFlags::OUT) => is_silent(stream),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// The peer never speaks on this connection: an end, an error or a byte all mean that it is done for.
fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    let outcome = recv(stream, &mut byte[..], RecvFlags::DONTWAIT);
    matches!(outcome, Err(Errno::WOULDBLOCK | Errno::INTR))
}

fn write(stream: &TcpStream, batch: &mut VecDeque<Bytes>) -> Result<(), Errno> {
    let slices: Vec<IoSlice<'_>> = batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut written = sendmsg(stream, &slices, &mut SendAncillaryBuffer::default(), flags)?;
    while let Some(first) = batch.front_mut() {
        if written < first.len() {
            first.advance(written);
            break;
        }
        written -= first.len();
        batch.pop_front();
    }
    Ok(())
}

/// How long to wait before the next dial.
struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    fn new(options: &Options) -> Self {
        Self {
            next: Duration::ZERO,
            min: options.min_backoff,
            max: options.max_backoff,
        }
    }

    fn failed(&mut self) {
        self.next = (self.next * 2).clamp(self.min, self.max);
    }

    fn refused(&mut self) {
        self.next = self.max;
    }

    /// A connection that lasted is made anew at once; one that broke at once must not become a busy loop.
    fn ended_after(&mut self, life: Duration) {
        if life > self.max {
            self.next = Duration::ZERO;
        } else {
            self.failed();
        }
    }

    fn next(&self) -> Duration {
        let random = RandomState::new().build_hasher().finish() % 1024;
        self.next.mul_f64(0.75 + random as f64 / 2048.0)
    }
}
