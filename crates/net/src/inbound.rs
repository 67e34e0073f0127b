//! The accepted connections: who is amid a handshake, who speaks for which peer.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use little_raft_core::ReplicaId;
use little_raft_core::message::Class;
use rustix::event::PollFlags;

use crate::reader;
use crate::shared::{Shared, lock};

/// The accepted connections, by number in the order in which they came.
#[derive(Default)]
pub(crate) struct Inbound {
    connections: Mutex<BTreeMap<u64, Connection>>,
}

struct Connection {
    stream: Arc<TcpStream>,
    /// Whom it speaks for, once the handshake is done.
    speaker: Option<(ReplicaId, Class)>,
}

impl Inbound {
    /// Notes a connection whose handshake begins. If there are too many of its kind, the oldest is closed: an honest
    /// handshake is over in a moment.
    fn begin(&self, number: u64, stream: Arc<TcpStream>, max_handshakes: usize) {
        let mut connections = lock(&self.connections);
        let speaker = None;
        connections.insert(number, Connection { stream, speaker });
        let amid = connections.values().filter(|one| one.speaker.is_none());
        if amid.clone().count() > max_handshakes.max(1) {
            amid.take(1).for_each(close);
        }
    }

    /// A handshake is done. The same peer's former connection of the kind is closed: it must have lost it.
    pub(crate) fn greeted(&self, number: u64, peer: ReplicaId, class: Class) {
        let mut connections = lock(&self.connections);
        let speaker = Some((peer, class));
        connections
            .values()
            .filter(|one| one.speaker == speaker)
            .for_each(close);
        if let Some(connection) = connections.get_mut(&number) {
            connection.speaker = speaker;
        }
    }

    pub(crate) fn ended(&self, number: u64) {
        lock(&self.connections).remove(&number);
    }

    pub(crate) fn close_peer(&self, peer: ReplicaId) {
        lock(&self.connections)
            .values()
            .filter(|one| one.speaker.is_some_and(|(speaker, _)| speaker == peer))
            .for_each(close);
    }

    pub(crate) fn close_all(&self) {
        lock(&self.connections).values().for_each(close);
    }
}

/// Its reader sees the end and tidies up.
fn close(connection: &Connection) {
    let _ = connection.stream.shutdown(Shutdown::Both);
}

/// Accepts connections until stopped.
pub(crate) fn run(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.is_stopping() {
        let (socket, mut timeout) = ((listener.as_fd(), PollFlags::IN), None);
        match listener.accept() {
            Ok((stream, _)) => {
                number += 1;
                if accept(number, stream, shared).is_ok() {
                    continue;
                }
                timeout = Some(Duration::from_millis(50));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, most likely, and the listener stays ready: try again in a moment.
            Err(_) => timeout = Some(Duration::from_millis(50)),
        }
        let socket = timeout.is_none().then_some(socket);
        let _ = shared.acceptor.wait(socket, timeout);
    }
}

fn accept(number: u64, stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let max_handshakes = shared.options.max_handshakes;
    shared
        .inbound
        .begin(number, Arc::clone(&stream), max_handshakes);
    let spawned = thread::Builder::new()
        .name("little-raft-read".into())
        .spawn({
            let shared = Arc::clone(shared);
            move || reader::run(number, &stream, &shared)
        });
    match spawned {
        Ok(thread) => {
            let mut threads = lock(&shared.threads);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
            Ok(())
        }
        Err(error) => {
            shared.inbound.ended(number);
            Err(error)
        }
    }
}
