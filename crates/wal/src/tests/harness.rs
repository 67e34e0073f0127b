//! A small log to try things on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::{
    Base, Entry, EntryKind, HardState, Member, Membership, Position, ReplicaId, Restored, Write,
};

use super::disk::TestDisk;
use crate::{Founding, OpenError, Options, Recovered, Wal};

pub(super) const DIR: &str = "data";
pub(super) const GROUP: u64 = 7;

pub(super) fn founding() -> Founding {
    Founding {
        cluster: 0xc1,
        replica: ReplicaId(2),
        founders: vec![Member::voter(1, "a:1"), Member::voter(2, "b:2")],
        incarnation: 0x1234_5678,
    }
}

pub(super) fn small() -> Options {
    Options {
        segment_bytes: 1 << 10,
        tail_bytes: 1 << 20,
    }
}

pub(super) fn open(disk: &Arc<TestDisk>) -> Result<(Wal, Recovered), OpenError> {
    Wal::open(disk.clone(), Path::new(DIR), small(), &founding())
}

pub(super) fn entry(index: u64, term: u64, payload: &[u8]) -> Entry {
    Entry {
        position: Position::new(index, term),
        kind: EntryKind::Command,
        time: index * 1000,
        checksum: crc32c::crc32c(payload),
        payload: Bytes::copy_from_slice(payload),
    }
}

/// Writes entries `first..first + count` of `term`, voting for replica `term`.
pub(super) fn write(first: u64, count: u64, term: u64) -> Write {
    let payload = format!("payload of term {term}");
    Write {
        number: 0,
        hard_state: HardState {
            term,
            vote: Some(ReplicaId(term)),
            committed: first.saturating_sub(1),
        },
        base: None,
        entries: (first..first + count)
            .map(|index| entry(index, term, payload.as_bytes()))
            .collect(),
    }
}

pub(super) fn based(index: u64, term: u64) -> Write {
    let base = Base {
        position: Position::new(index, term),
        membership: Membership::founders([Member::voter(2, "b:2")]),
    };
    Write {
        base: Some(Box::new(base)),
        ..write(1, 0, term)
    }
}

/// What the writes amount to, said once more and as dumbly as can be.
pub(super) fn model(writes: &[Write]) -> Restored {
    let mut restored = Restored::default();
    let log = &mut restored.tail;
    for write in writes {
        restored.hard_state = write.hard_state;
        if let Some(base) = &write.base {
            let keeps = log.iter().any(|entry| entry.position == base.position)
                || restored.base.position == base.position;
            log.retain(|entry| keeps && entry.position.index > base.position.index);
            restored.base = (**base).clone();
        }
        if let Some(first) = write.entries.first() {
            log.retain(|entry| entry.position.index < first.position.index);
            log.extend(write.entries.iter().cloned());
        }
    }
    let mut term = None;
    for entry in &restored.tail {
        if term.replace(entry.position.term) != Some(entry.position.term) {
            restored.terms.push(entry.position);
        }
    }
    let is_membership = |entry: &&Entry| entry.kind == EntryKind::Membership;
    restored.memberships = restored
        .tail
        .iter()
        .filter(is_membership)
        .cloned()
        .collect();
    let last = restored.tail.last().map(|entry| entry.position.index);
    restored.last = last.unwrap_or(restored.base.position.index);
    restored
}
