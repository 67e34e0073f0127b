//! Messages on their way.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use little_raft_core::message::Body;
use little_raft_core::{Message, ReplicaId};

/// A message on its way.
#[derive(Clone)]
pub struct Letter {
    message: Arc<Message>,
    /// A hash of the message but for the moment that it names.
    digest: u64,
    sent: u64,
}

impl Letter {
    pub(crate) fn new(mut message: Message) -> Self {
        let sent = moment(&mut message.body).map_or(0, std::mem::take);
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        if let Some(there) = moment(&mut message.body) {
            *there = sent;
        }
        let digest = hasher.finish();
        let message = Arc::new(message);
        Self {
            message,
            digest,
            sent,
        }
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// From whom to whom.
    pub(crate) fn link(&self) -> (ReplicaId, ReplicaId) {
        (self.message.from, self.message.to)
    }

    /// What tells it from others, with moments counted from `now`.
    pub(crate) fn key(&self, now: u64) -> (u64, u64) {
        (self.digest, now - self.sent)
    }
}

/// When the request was sent that this is, or answers.
fn moment(body: &mut Body) -> Option<&mut u64> {
    match body {
        Body::Append(append) => Some(&mut append.stamp.sent),
        Body::Heartbeat(heartbeat) => Some(&mut heartbeat.stamp.sent),
        Body::AppendReply(reply) => Some(&mut reply.stamp.sent),
        _ => None,
    }
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.sent) == (other.digest, other.sent)
    }
}

impl Eq for Letter {}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message {
            from,
            to,
            term,
            body,
            ..
        } = &*self.message;
        write!(f, "{from} -> {to} in term {term}: {body:?}")
    }
}
