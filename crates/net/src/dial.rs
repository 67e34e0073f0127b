//! Making a connection: name, address, connection, handshake. Any of it ends early when the lane gives up.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::hello::{Answer, Greeting, HEAD_BYTES, answer_head, open};
use crate::lane::Lane;
use crate::shared::{Shared, lock};
use crate::{Reason, Refusal, Side};

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody is there, or the lane gave up.
    Unreachable,
    /// Somebody is there, but not whom we want, or it does not want us.
    Refused(Refusal),
}

impl From<io::Error> for DialError {
    fn from(_: io::Error) -> Self {
        Self::Unreachable
    }
}

/// A connection to the lane's peer, ready for frames; its socket never blocks.
pub(crate) fn dial(lane: &Lane, shared: &Shared) -> Result<TcpStream, DialError> {
    first_of(lane.dialing(), |address| {
        dial_address(lane, shared, &address).map_err(|error| match error {
            DialError::Refused(refusal) => DialError::Refused(Refusal { address, ..refusal }),
            DialError::Unreachable => DialError::Unreachable,
        })
    })
}

fn dial_address(lane: &Lane, shared: &Shared, address: &str) -> Result<TcpStream, DialError> {
    first_of(resolve(lane, address)?, |target| {
        dial_one(lane, shared, target)
    })
}

/// The first that can be reached; otherwise why the first that spoke refused.
fn first_of<T>(
    targets: Vec<T>,
    dial: impl Fn(T) -> Result<TcpStream, DialError>,
) -> Result<TcpStream, DialError> {
    let mut error = DialError::Unreachable;
    for target in targets {
        match dial(target) {
            Ok(stream) => return Ok(stream),
            Err(other) if matches!(error, DialError::Unreachable) => error = other,
            Err(_) => {}
        }
    }
    Err(error)
}

fn dial_one(lane: &Lane, shared: &Shared, target: SocketAddr) -> Result<TcpStream, DialError> {
    let stream = establish(lane, target, shared.options.connect_timeout)?;
    stream.set_nodelay(true)?;
    // A peer whose machine vanished closes nothing: without this it would take minutes to notice.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(&stream, shared.options.stall_timeout.as_millis() as u32)
        .map_err(io::Error::from)?;
    shake_hands(lane, shared, &stream).map_err(|error| match error {
        HandshakeError::Io => DialError::Unreachable,
        HandshakeError::Refused(reason) => DialError::Refused(Refusal {
            side: Side::Dialing,
            peer: Some(lane.peer),
            address: target.to_string(),
            reason,
        }),
    })?;
    Ok(stream)
}

/// A name is looked up anew at each dial, on a thread of its own: the look-up can't be interrupted, and stopping must
/// not wait for it.
fn resolve(lane: &Lane, address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(literal) = address.parse() {
        return Ok(vec![literal]);
    }
    let (answer, answered) = mpsc::channel();
    let name = address.to_owned();
    thread::Builder::new()
        .name("little-raft-resolve".into())
        .spawn(move || {
            let found = name.as_str().to_socket_addrs();
            let _ = answer.send(found.map(|addresses| addresses.collect()));
        })?;
    loop {
        match answered.recv_timeout(Duration::from_millis(50)) {
            Ok(found) => return found,
            Err(mpsc::RecvTimeoutError::Timeout) if !lane.gives_up_dialing() => {}
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn establish(lane: &Lane, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &target) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            wait(lane, &socket, PollFlags::OUT, deadline)?;
            sockopt::socket_error(&socket)??;
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(TcpStream::from(socket))
}

enum HandshakeError {
    Io,
    Refused(Reason),
}

impl From<io::Error> for HandshakeError {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl From<Reason> for HandshakeError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

fn shake_hands(lane: &Lane, shared: &Shared, stream: &TcpStream) -> Result<(), HandshakeError> {
    let deadline = Instant::now() + shared.options.handshake_timeout;
    let greeting = Greeting {
        who: shared.me,
        wanted: lane.peer,
        class: lane.class,
        address: lock(&shared.own_address).clone(),
    };
    let mut stream_ref = stream;
    // A fresh socket's buffer takes these few bytes.
    stream_ref.write_all(&greeting.encode())?;

    let mut head = [0; HEAD_BYTES];
    read_exact(lane, stream, &mut head, deadline)?;
    let (version, length) = answer_head(head)?;
    let mut body = vec![0; length];
    read_exact(lane, stream, &mut body, deadline)?;
    match Answer::decode(version, open(head, body)?)? {
        Answer::Refused(text) => Err(Reason::ByPeer(text).into()),
        Answer::Welcome(who) if who.cluster != shared.me.cluster => Err(Reason::OtherCluster {
            ours: shared.me.cluster,
            theirs: who.cluster,
        }
        .into()),
        Answer::Welcome(who) if who.replica != lane.peer => Err(Reason::OtherReplica {
            wanted: lane.peer,
            found: who.replica,
        }
        .into()),
        Answer::Welcome(_) => Ok(()),
    }
}

fn read_exact(
    lane: &Lane,
    mut stream: &TcpStream,
    mut room: &mut [u8],
    deadline: Instant,
) -> Result<(), HandshakeError> {
    while !room.is_empty() {
        match stream.read(room) {
            Ok(0) => return Err(HandshakeError::Io),
            Ok(count) => room = &mut room[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match wait(lane, stream, PollFlags::IN, deadline) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        return Err(Reason::Unfinished.into());
                    }
                    outcome => outcome?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait(lane: &Lane, socket: impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        if lane.gives_up_dialing() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let ready = lane.waker.wait(Some((socket.as_fd(), flags)), Some(left))?;
        if !ready.is_empty() {
            return Ok(());
        }
    }
}
