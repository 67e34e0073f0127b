//! What all threads of an endpoint share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use little_raft_core::message::Class;
use little_raft_core::{Message, ReplicaId};

use crate::inbound::Inbound;
use crate::lane::Lane;
use crate::wake::Waker;
use crate::{Hello, Options, Refusal};

/// Receives what an endpoint has to say, on the endpoint's own threads, without any of its locks held.
///
/// Calls may come from several threads at once. A call may use [`Tcp`](crate::Tcp), also [`Tcp::stop`](crate::Tcp::stop).
/// While [`deliver`](Self::deliver) runs, nothing more is read from that connection. It must not panic: that ends the
/// connection.
pub trait Handler: Send + Sync + 'static {
    /// A message from a peer. Cluster, speaker and addressee agree with the handshake; everything else is unchecked.
    fn deliver(&self, message: Message);

    /// Messages sent to this peer of late may not have arrived. Repeated for as long as it can't be reached.
    fn unreachable(&self, peer: ReplicaId);

    /// A connection or message was turned down: for the log.
    fn refused(&self, refusal: Refusal) {
        let _ = refusal;
    }
}

/// What went wrong since the start, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages dropped instead of sent: unknown or unreachable peer, full queue, too large.
    pub dropped: u64,
    /// Connections turned down, on either side, and messages too large to send.
    pub refused: u64,
    /// Accepted connections closed for what they sent after a good handshake.
    pub faults: u64,
}

pub(crate) struct Shared {
    pub me: Hello,
    pub options: Options,
    pub handler: Arc<dyn Handler>,
    pub peers: RwLock<BTreeMap<ReplicaId, Peer>>,
    /// Those of the peers that only said themselves that they are members, in the order in which they came.
    pub guests: Mutex<VecDeque<ReplicaId>>,
    /// Where this replica is reached; empty unless it knows to be a member.
    pub own_address: Mutex<String>,
    pub inbound: Inbound,
    pub acceptor: Waker,
    pub stopping: AtomicBool,
    pub accepting: Mutex<Option<JoinHandle<()>>>,
    pub threads: Mutex<Vec<JoinHandle<()>>>,
    pub dropped: AtomicU64,
    pub refused: AtomicU64,
    pub faults: AtomicU64,
    pub reported: Mutex<Vec<(Instant, Refusal)>>,
}

/// The ways out to one peer.
#[derive(Clone)]
pub(crate) struct Peer {
    pub urgent: Arc<Lane>,
    pub bulk: Arc<Lane>,
    pub snapshots: Arc<Lane>,
}

impl Peer {
    pub(crate) fn lanes(&self) -> [&Arc<Lane>; 3] {
        [&self.urgent, &self.bulk, &self.snapshots]
    }

    pub(crate) fn lane(&self, class: Class) -> &Lane {
        match class {
            Class::Urgent => &self.urgent,
            Class::Bulk => &self.bulk,
            Class::Snapshot => &self.snapshots,
        }
    }

    pub(crate) fn each(&self, action: impl Fn(&Lane)) {
        self.lanes().into_iter().for_each(|lane| action(lane));
    }
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn peer(&self, id: ReplicaId) -> Option<Peer> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&id).cloned()
    }

    pub(crate) fn count_dropped(&self, count: u64) {
        if count > 0 {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts a refusal, and reports it unless the same was reported of late: a stranger may knock many times a second.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if self.is_news(&refusal) {
            self.handler.refused(refusal);
        }
    }

    fn is_news(&self, refusal: &Refusal) -> bool {
        const QUIET: Duration = Duration::from_secs(10);
        const REMEMBERED: usize = 32;
        let mut reported = lock(&self.reported);
        reported.retain(|(when, _)| when.elapsed() < QUIET);
        let known = |(_, old): &(Instant, Refusal)| {
            // A dialer has a new port each time: its address does not tell it apart.
            (old.side, old.peer, &old.reason) == (refusal.side, refusal.peer, &refusal.reason)
        };
        if reported.iter().any(known) || reported.len() == REMEMBERED {
            return false;
        }
        reported.push((Instant::now(), refusal.clone()));
        true
    }
}

/// What the lock guards is sound after each statement, so another thread's panic does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
