//! A hub that carries messages between the replicas of one process, and can cut its links.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use little_raft_core::{Message, ReplicaId};

use crate::cluster::{Cluster, Inbox};

/// Connects replicas of one process: a message is handed over on the sender's thread.
///
/// So a proposal is often replicated and applied by all of them before `propose` returns, on the caller's thread and
/// without waking another. A replica whose state machine takes more than a millisecond for a batch gets a thread for
/// the next one.
///
/// ```
/// # use little_raft::MemoryCluster;
/// let hub = MemoryCluster::new();
/// let first = hub.link(1); // for `Builder::cluster`
/// hub.cut(1, 2);
/// hub.heal();
/// # let _ = first;
/// ```
#[derive(Clone, Default)]
pub struct MemoryCluster {
    hub: Arc<RwLock<Hub>>,
}

#[derive(Default)]
struct Hub {
    inboxes: BTreeMap<ReplicaId, Inbox>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
}

impl MemoryCluster {
    /// A hub that nobody is connected to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The [`Cluster`] of the replica called `id`.
    pub fn link(&self, id: impl Into<ReplicaId>) -> MemoryLink {
        MemoryLink {
            hub: self.clone(),
            id: id.into(),
        }
    }

    /// Loses all that `from` sends to `to`, from now on. One direction only.
    pub fn cut(&self, from: impl Into<ReplicaId>, to: impl Into<ReplicaId>) {
        self.write().cut.insert((from.into(), to.into()));
    }

    /// Cuts all links of `id`, in both directions.
    pub fn isolate(&self, id: impl Into<ReplicaId>) {
        let id = id.into();
        let mut hub = self.write();
        let others: Vec<ReplicaId> = hub.inboxes.keys().copied().filter(|&o| o != id).collect();
        for other in others {
            hub.cut.insert((id, other));
            hub.cut.insert((other, id));
        }
    }

    /// Mends all links.
    pub fn heal(&self) {
        self.write().cut.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, Hub> {
        self.hub.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Hub> {
        self.hub.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One replica's end of a [`MemoryCluster`].
pub struct MemoryLink {
    hub: MemoryCluster,
    id: ReplicaId,
}

impl Cluster for MemoryLink {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        self.hub.write().inboxes.insert(self.id, inbox);
        Ok(())
    }

    fn send(&mut self, to: ReplicaId, message: Message) {
        let inbox = {
            let hub = self.hub.read();
            if !hub.cut.is_empty() && hub.cut.contains(&(self.id, to)) {
                return;
            }
            hub.inboxes.get(&to).cloned()
        };
        // Delivered with the hub unlocked: it runs the receiver, which sends in its turn.
        if let Some(inbox) = inbox {
            inbox.deliver(message);
        }
    }

    fn max_message_bytes(&self) -> usize {
        4 << 20
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.hub.write().inboxes.remove(&self.id);
    }
}
