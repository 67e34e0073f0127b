//! What survives a crash.

use little_raft_core::{Base, Entry, EntryKind, HardState, Membership, Position, Restored, Write};

/// What a log on disk amounts to. It begins with the first entry: nothing is compacted here.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Disk {
    hard: HardState,
    pub(crate) entries: Vec<Entry>,
    founders: Membership,
}

impl Disk {
    pub(crate) fn new(founders: Membership) -> Self {
        Self {
            hard: HardState::default(),
            entries: Vec::new(),
            founders,
        }
    }

    pub(crate) fn keep(&mut self, write: &Write) {
        self.hard = write.hard_state;
        if let Some(first) = write.entries.first() {
            self.entries.truncate(first.position.index as usize - 1);
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    pub(crate) fn last(&self) -> Position {
        let last = self.entries.last().map(|entry| entry.position);
        last.unwrap_or_default()
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get((index as usize).checked_sub(1)?)
    }

    pub(crate) fn holds(&self, position: Position) -> bool {
        let there = self.entry(position.index).map(|entry| entry.position);
        there == Some(position)
    }

    /// The membership in force: the newest in the log.
    pub(crate) fn membership(&self) -> Membership {
        let newest = self.entries.iter().rev().find_map(Entry::membership);
        newest.unwrap_or_else(|| self.founders.clone())
    }

    pub(crate) fn restored(&self) -> Restored {
        let mut terms: Vec<Position> = self.entries.iter().map(|entry| entry.position).collect();
        terms.dedup_by_key(|position| position.term);
        let is_membership = |entry: &&Entry| entry.kind == EntryKind::Membership;
        Restored {
            hard_state: self.hard,
            base: Base {
                membership: self.founders.clone(),
                ..Base::default()
            },
            terms,
            last: self.last().index,
            memberships: self.entries.iter().filter(is_membership).cloned().collect(),
            tail: self.entries.clone(),
        }
    }
}
