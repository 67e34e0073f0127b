//! How replicas exchange messages: the trait, and what a replica hands to it.

use std::fmt;
use std::io;
use std::sync::Arc;

use little_raft_core::{Member, Message, ReplicaId};

/// How replicas exchange messages. TCP is built in; implement this for anything else.
///
/// The library asks for little: messages may be lost, repeated, delayed and reordered. They must not be altered
/// (checksum them), and none may be larger than [`max_message_bytes`](Self::max_message_bytes).
///
/// Dropping it ends it: nothing may be delivered afterwards, and threads of its own must be gone.
pub trait Cluster: Send + 'static {
    /// Called once, before anything is sent. What arrives goes to `inbox.deliver`, from any thread.
    ///
    /// # Errors
    /// An error keeps the replica from starting.
    fn start(&mut self, inbox: Inbox) -> io::Result<()>;

    /// Hands a message to a replica. Must not block; may drop it ([`Inbox::unreachable`] then speeds up recovery).
    /// [`Message::class`] says how it wants to travel.
    fn send(&mut self, to: ReplicaId, message: Message);

    /// The group's members have changed; these are all there are now. Whoever left may still have to be told so: keep
    /// its address until it is needed for another.
    fn members_changed(&mut self, members: &[Member]) {
        let _ = members;
    }

    /// No message larger than this (as encoded) is sent; proposals that don't fit are refused.
    fn max_message_bytes(&self) -> usize;
}

/// Where a [`Cluster`] puts what arrives. Cheap to clone.
///
/// The thread that delivers may be kept for a short while to work on what it brought; never for anything slow, and
/// never for longer than a bounded number of inputs.
#[derive(Clone)]
pub struct Inbox {
    target: Arc<dyn Deliver>,
}

impl Inbox {
    /// A message arrived. It is judged by the replica: anything may be delivered, repeatedly and in any order.
    /// Dropped when the replica's queue is full or the replica has stopped.
    pub fn deliver(&self, message: Message) {
        self.target.message(message);
    }

    /// What was last sent to `peer` may not have arrived.
    pub fn unreachable(&self, peer: ReplicaId) {
        self.target.unreachable(peer);
    }

    pub(crate) fn new(target: Arc<dyn Deliver>) -> Self {
        Self { target }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// A replica, as its cluster sees it.
pub(crate) trait Deliver: Send + Sync {
    fn message(&self, message: Message);
    fn unreachable(&self, peer: ReplicaId);
}
