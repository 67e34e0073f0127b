//! The thread of an accepted connection: handshake, then frames until it ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use little_raft_core::{Codec, Message, ReplicaId};

use crate::frame::{End, Frames};
use crate::hello::{Answer, Greeting, HEAD_BYTES, check_version, greeting_head, open};
use crate::shared::Shared;
use crate::{Reason, Refusal, Side};

/// How often a reader that waits for the rest of a frame looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Reads until the connection ends, is closed from here, or breaks the protocol.
pub(crate) fn run(number: u64, stream: &TcpStream, shared: &Arc<Shared>) {
    let _tidy = Tidy { number, shared };
    match shake_hands(stream, shared) {
        Ok(greeting) if greeting.is_question() => {
            welcome(stream, shared);
        }
        Ok(greeting) => {
            let peer = greeting.who.replica;
            shared.inbound.greeted(number, peer, greeting.class);
            if !welcome(stream, shared) {
                return;
            }
            if let Some(ways) = shared.peer(peer) {
                ways.each(|lane| {
                    lane.hear(&greeting.address);
                    lane.hurry();
                });
            }
            if let End::Fault(reason) = read_frames(stream, shared, peer) {
                shared.faults.fetch_add(1, Ordering::Relaxed);
                refuse(stream, shared, Some(peer), reason);
            }
        }
        Err((peer, End::Fault(reason))) => {
            let answer = Answer::Refused(reason.to_string());
            if reason != Reason::Foreign {
                let _ = (&mut &*stream).write_all(&answer.encode());
            }
            refuse(stream, shared, peer, reason);
        }
        Err((_, End::Closed)) => {}
    }
}

struct Tidy<'a> {
    number: u64,
    shared: &'a Shared,
}

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        self.shared.inbound.ended(self.number);
    }
}

fn refuse(stream: &TcpStream, shared: &Shared, peer: Option<ReplicaId>, reason: Reason) {
    let address = stream.peer_addr();
    shared.refuse(Refusal {
        side: Side::Accepting,
        peer,
        address: address.map_or_else(|_| "a closed connection".into(), |it| it.to_string()),
        reason,
    });
}

fn welcome(mut stream: &TcpStream, shared: &Shared) -> bool {
    let answer = Answer::Welcome(shared.me);
    stream.write_all(&answer.encode()).is_ok() && stream.set_read_timeout(Some(LOOK)).is_ok()
}

fn read_frames(mut stream: &TcpStream, shared: &Shared, peer: ReplicaId) -> End {
    let mut frames = Frames::new(&shared.options);
    loop {
        let message = match frames.next(&mut stream) {
            Ok(payload) => Message::from_bytes(payload),
            Err(end) => return end,
        };
        match message {
            Ok(message) if is_between(&message, peer, shared) => shared.handler.deliver(message),
            Ok(Message { from, to, .. }) => return End::Fault(Reason::Astray { from, to }),
            Err(error) => return End::Fault(Reason::Undecodable(error)),
        }
    }
}

/// Rule 7: a message is heard only if it names the two sides that shook hands.
fn is_between(message: &Message, peer: ReplicaId, shared: &Shared) -> bool {
    let me = &shared.me;
    message.cluster == me.cluster && message.from == peer && message.to == me.replica
}

fn shake_hands(
    stream: &TcpStream,
    shared: &Arc<Shared>,
) -> Result<Greeting, (Option<ReplicaId>, End)> {
    let greeting = read_greeting(stream, shared).map_err(|end| (None, end))?;
    let is_member = |id| shared.peer(id).is_some();
    if greeting.is_question() {
        return Ok(greeting);
    }
    match greeting.objection(&shared.me, is_member) {
        None => Ok(greeting),
        Some(Reason::NotMember { .. }) if is_guest(&greeting, shared) => Ok(greeting),
        Some(reason) => Err((Some(greeting.who.replica), End::Fault(reason))),
    }
}

/// Who says where it is reached says that it is a member.
fn is_guest(greeting: &Greeting, shared: &Arc<Shared>) -> bool {
    let (id, address) = (greeting.who.replica, &greeting.address);
    !address.is_empty() && shared.set_guest(id, address).is_ok()
}

fn read_greeting(stream: &TcpStream, shared: &Shared) -> Result<Greeting, End> {
    let deadline = Instant::now() + shared.options.handshake_timeout;
    let mut head = [0; HEAD_BYTES];
    read_exact(stream, &mut head, deadline)?;
    let (version, length) = greeting_head(head).map_err(End::Fault)?;
    let mut body = vec![0; length];
    read_exact(stream, &mut body, deadline)?;
    check_version(version)
        .and_then(|()| open(head, body))
        .and_then(Greeting::decode)
        .map_err(End::Fault)
}

fn read_exact(mut stream: &TcpStream, mut room: &mut [u8], deadline: Instant) -> Result<(), End> {
    let mut begun = false;
    while !room.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(End::Fault(Reason::Unfinished));
        }
        stream
            .set_read_timeout(Some(left))
            .map_err(|_| End::Closed)?;
        match stream.read(room) {
            // Who connects and leaves without a word only looked whether somebody is there.
            Ok(0) if begun => return Err(End::Fault(Reason::Unfinished)),
            Ok(0) => return Err(End::Closed),
            Ok(count) => {
                begun = true;
                room = &mut room[count..];
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => return Err(End::Closed),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
