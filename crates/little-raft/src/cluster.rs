//! How replicas exchange messages: the trait, and what a replica hands to it.

use std::io;

use little_raft_core::{Message, ReplicaId};

/// How replicas exchange messages. TCP is built in; implement this for anything else.
///
/// The library asks for little: messages may be lost, repeated, delayed and reordered. They must not be altered
/// (checksum them), and none may be larger than [`max_message_bytes`](Self::max_message_bytes).
pub trait Cluster: Send + 'static {
    /// Called once, before anything is sent. What arrives goes to `inbox.deliver`, from any thread.
    ///
    /// # Errors
    /// An error keeps the replica from starting.
    fn start(&mut self, inbox: Inbox) -> io::Result<()>;

    /// Hands a message to a replica. Must not block; may drop it ([`Inbox::unreachable`] then speeds up recovery).
    /// [`Message::class`] says how it wants to travel.
    fn send(&mut self, to: ReplicaId, message: Message);

    /// No message larger than this (as encoded) is sent; proposals that don't fit are refused.
    fn max_message_bytes(&self) -> usize;
}

/// Where a [`Cluster`] puts what arrives. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    _todo: (),
}
