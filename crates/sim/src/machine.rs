//! The state machine of the simulation: a hash over all it ever applied.

use bytes::{BufMut, Bytes, BytesMut};
use little_raft_core::message::Content;
use little_raft_core::{Base, Entry, EntryKind, Position};

use crate::random::{hash, mix};

/// Two machines with equal hashes at one index applied the same entries in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) position: Position,
    pub(crate) hash: u64,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) base: Base,
    pub(crate) data: Bytes,
}

impl Snapshot {
    pub(crate) fn content(&self) -> Content {
        Content::Kept {
            length: self.data.len() as u64,
            checksum: checksum(&self.data),
        }
    }
}

impl Machine {
    /// # Panics
    /// If entries are left out or come twice.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let Position { index, term } = entry.position;
        assert_eq!(index, self.position.index + 1, "applied out of order");
        let found = checksum(&entry.payload);
        let is_made_by_core = entry.kind == EntryKind::Membership;
        assert!(
            is_made_by_core || entry.checksum == found,
            "payload damaged"
        );
        self.position = entry.position;
        self.hash = mix(self.hash ^ mix(index) ^ mix(term ^ u64::from(found) << 32));
    }

    /// As many bytes as `size` asks for, all of them checked on restore.
    pub(crate) fn snapshot(&self, base: Base, size: u64) -> Snapshot {
        let mut data = BytesMut::new();
        data.put_u64_le(self.hash);
        data.put_u64_le(size);
        (0..size).for_each(|at| data.put_u8(mix(self.hash ^ at) as u8));
        Snapshot {
            base,
            data: data.freeze(),
        }
    }

    /// The machine a snapshot was taken of; `None` if the snapshot is damaged.
    pub(crate) fn restore(snapshot: &Snapshot) -> Option<Self> {
        let word = |at: usize| {
            let bytes = snapshot.data.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let machine = Self {
            position: snapshot.base.position,
            hash: word(0)?,
        };
        let same = machine.snapshot(snapshot.base.clone(), word(8)?);
        (same == *snapshot).then_some(machine)
    }
}

/// A stand-in for CRC-32C; the core only carries it.
pub(crate) fn checksum(payload: &[u8]) -> u32 {
    if payload.is_empty() {
        return 0;
    }
    hash(0, payload) as u32
}

/// The client operation that a command came from.
pub(crate) fn ticket(entry: &Entry) -> Option<u64> {
    let bytes = entry.payload.get(..8)?.try_into().ok()?;
    (entry.kind == EntryKind::Command).then(|| u64::from_le_bytes(bytes))
}
