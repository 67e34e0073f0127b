//! A state machine whose state says which entries it was made of, and its snapshots.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use little_raft_core::message::{Content, Snapshot};
use little_raft_core::{Base, Entry, Membership};

/// A state, also as a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    /// The last entry that it has applied, and who belonged to the group there.
    pub(crate) at: Base,
    /// A hash over all entries that it has applied, one after the other.
    pub(crate) digest: u64,
}

impl Machine {
    pub(crate) fn new(founders: Membership) -> Self {
        Self {
            at: Base {
                membership: founders,
                ..Base::default()
            },
            digest: 0,
        }
    }

    pub(crate) fn apply(&mut self, entry: &Entry) {
        let mut hasher = DefaultHasher::new();
        (self.digest, entry).hash(&mut hasher);
        self.digest = hasher.finish();
        self.at.position = entry.position;
        if let Some(membership) = entry.membership() {
            self.at.membership = membership;
        }
    }

    /// The only piece of its snapshot.
    pub(crate) fn piece(&self, transfer: u64) -> Snapshot {
        Snapshot {
            transfer,
            base: self.at.clone(),
            content: Content::Made(transfer),
            offset: 0,
            data: Bytes::copy_from_slice(&self.digest.to_le_bytes()),
            done: true,
            elsewhere: None,
        }
    }

    pub(crate) fn of(piece: &Snapshot) -> Self {
        let digest = piece.data[..].try_into().expect("it is a digest");
        Self {
            at: piece.base.clone(),
            digest: u64::from_le_bytes(digest),
        }
    }
}
