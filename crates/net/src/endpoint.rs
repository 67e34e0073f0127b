//! What users hold: a [`Listener`], then a [`Tcp`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use little_raft_core::message::Body;
use little_raft_core::{Message, ReplicaId};

use crate::inbound::{self, Inbound};
use crate::lane::{Frame, Lane};
use crate::shared::{Shared, lock};
use crate::wake::Waker;
use crate::{BindError, Counts, Handler, Hello, Options, frame};

/// An address that is ours, where nobody is heard yet: peers that dial it wait until [`Listener::start`].
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: Options,
    own_address: String,
}

impl Listener {
    /// As [`Tcp::set_own_address`], before the first peer is dialed.
    #[must_use]
    pub fn reached_at(self, own_address: &str) -> Self {
        let own_address = own_address.into();
        Self {
            own_address,
            ..self
        }
    }

    /// Where it listens; with the port that the system chose, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Begins to dial `peers` and to hear them. An entry for this replica itself is passed over.
    ///
    /// Addresses are `host:port`; names are looked up at each dial. The handler must not keep the endpoint alive, or
    /// neither ever goes: give it a [`std::sync::Weak`], or call [`Tcp::stop`] and drop it.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub fn start(
        self,
        hello: Hello,
        peers: BTreeMap<ReplicaId, String>,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Tcp> {
        self.socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            me: hello,
            options: self.options,
            handler,
            peers: RwLock::default(),
            guests: Mutex::default(),
            own_address: self.own_address.into(),
            inbound: Inbound::default(),
            acceptor: Waker::new()?,
            stopping: false.into(),
            accepting: Mutex::default(),
            threads: Mutex::default(),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            reported: Mutex::default(),
        });
        let tcp = Tcp {
            endpoint: Arc::new(Endpoint {
                shared: Arc::clone(&shared),
                address: self.address,
            }),
        };
        for (id, address) in peers {
            tcp.set_peer(id, &address)?;
        }
        let socket = self.socket;
        let acceptor = thread::Builder::new()
            .name("little-raft-accept".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || inbound::run(&socket, &shared)
            })?;
        *lock(&shared.accepting) = Some(acceptor);
        Ok(tcp)
    }
}

/// A process's way to its peers. Cheap to clone; the last one to go stops it.
#[derive(Clone)]
pub struct Tcp {
    endpoint: Arc<Endpoint>,
}

struct Endpoint {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Tcp {
    /// Listens on `address`, a `host:port`; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the port is in use, or the address is not one of this machine's.
    pub fn bind(address: &str, options: Options) -> Result<Listener, BindError> {
        let bound =
            TcpListener::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((local, socket)) => Ok(Listener {
                socket,
                address: local,
                options,
                own_address: String::new(),
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse {
                address: address.into(),
            }),
            Err(source) => Err(BindError::Address {
                address: address.into(),
                source,
            }),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Sends a message, or queues or drops it: never blocks. Messages of one thread and one [class](Message::class) to one
    /// peer keep their order, except across a new connection.
    pub fn send(&self, to: ReplicaId, message: Message) {
        let shared = &self.endpoint.shared;
        let Some(peer) = shared.peer(to) else {
            return shared.count_dropped(1);
        };
        let lane = peer.lane(message.class());
        let bytes = frame::encode(&message);
        let payload_bytes = bytes.len() - frame::HEADER_BYTES;
        if payload_bytes > shared.options.max_frame_bytes {
            lane.too_big(payload_bytes);
            return shared.count_dropped(1);
        }
        let pipelined = match &message.body {
            Body::Append(append) => !append.entries.is_empty(),
            Body::Snapshot(_) => true,
            _ => false,
        };
        shared.count_dropped(lane.send(Frame { bytes, pipelined }));
    }

    /// Adds a peer, or changes its address: then its connections are made anew. This replica itself is passed over.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left; the peer is then as unknown as before.
    pub fn set_peer(&self, id: ReplicaId, address: &str) -> io::Result<()> {
        self.endpoint.shared.set_member(id, address)
    }

    /// Forgets a peer: its connections are closed, and it is refused from now on.
    pub fn remove_peer(&self, id: ReplicaId) {
        self.endpoint.shared.remove_peer(id);
    }

    /// Where this replica's peers reach it, as long as it is a member: those that don't know it yet are told when they
    /// are dialed. Empty if it is none.
    pub fn set_own_address(&self, address: &str) {
        address.clone_into(&mut lock(&self.endpoint.shared.own_address));
    }

    /// What went wrong so far, counted.
    pub fn counts(&self) -> Counts {
        let shared = &self.endpoint.shared;
        Counts {
            dropped: shared.dropped.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            faults: shared.faults.load(Ordering::Relaxed),
        }
    }

    /// Closes all connections and waits until all threads have ended; what waits to be sent is dropped. Afterwards the
    /// handler is not called any more, unless this was called by the handler itself: that call is not waited for. Must
    /// not be called with a lock held that the handler takes. A second call does nothing.
    pub fn stop(&self) {
        self.endpoint.stop();
    }
}

impl Endpoint {
    fn stop(&self) {
        let shared = &self.shared;
        {
            // Under the lock of `peers`, so that none is added any more.
            let peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            shared.stopping.store(true, Ordering::Release);
            for peer in peers.values() {
                peer.each(Lane::stop);
            }
        }
        shared.acceptor.wake();
        // First, so that no connection comes after those that are closed here.
        let acceptor = lock(&shared.accepting).take();
        acceptor.into_iter().for_each(join);
        shared.inbound.close_all();
        let threads = std::mem::take(&mut *lock(&shared.threads));
        threads.into_iter().for_each(join);
    }
}

/// Waits for a thread to end, unless it is this one.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("me", &self.endpoint.shared.me)
            .field("address", &self.endpoint.address)
            .finish_non_exhaustive()
    }
}
