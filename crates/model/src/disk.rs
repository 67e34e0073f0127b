//! What survives a crash.

use little_raft_core::{Base, Entry, EntryKind, HardState, Membership, Position, Restored, Write};

/// What a log on disk amounts to.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Disk {
    hard: HardState,
    /// Where it begins.
    pub(crate) base: Base,
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    pub(crate) fn new(founders: Membership) -> Self {
        Self {
            hard: HardState::default(),
            base: Base {
                membership: founders,
                ..Base::default()
            },
            entries: Vec::new(),
        }
    }

    pub(crate) fn keep(&mut self, write: &Write) {
        self.hard = write.hard_state;
        if let Some(base) = &write.base {
            self.begin_at(base);
        }
        if let Some(first) = write.entries.first() {
            let kept = first.position.index - self.base.position.index - 1;
            self.entries.truncate(kept as usize);
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    /// What has the base's entry keeps what follows it.
    fn begin_at(&mut self, base: &Base) {
        let dropped = base.position.index - self.base.position.index;
        match self.holds(base.position) {
            true => drop(self.entries.drain(..dropped as usize)),
            false => self.entries.clear(),
        }
        self.base = base.clone();
    }

    /// As a start does that finds a snapshot which the log does not reach, or contradicts: the log begins anew.
    pub(crate) fn reach(&mut self, base: &Base) {
        if self.holds(base.position) {
            return;
        }
        self.begin_at(base);
        if base.position.term > self.hard.term {
            self.hard.term = base.position.term;
            self.hard.vote = None;
        }
        self.hard.committed = base.position.index;
    }

    pub(crate) fn last(&self) -> Position {
        let last = self.entries.last().map(|entry| entry.position);
        last.unwrap_or(self.base.position)
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.base.position.index + 1)?;
        self.entries.get(place as usize)
    }

    /// What it begins after was committed, and so is whatever it had before.
    pub(crate) fn holds(&self, position: Position) -> bool {
        let base = self.base.position;
        if position.index <= base.index {
            return position.index < base.index || position == base;
        }
        let there = self.entry(position.index).map(|entry| entry.position);
        there == Some(position)
    }

    /// The membership in force: the newest in the log.
    pub(crate) fn membership(&self) -> Membership {
        let newest = self.entries.iter().rev().find_map(Entry::membership);
        newest.unwrap_or_else(|| self.base.membership.clone())
    }

    pub(crate) fn restored(&self) -> Restored {
        let mut terms: Vec<Position> = self.entries.iter().map(|entry| entry.position).collect();
        terms.dedup_by_key(|position| position.term);
        terms.retain(|position| position.term > self.base.position.term);
        let is_membership = |entry: &&Entry| entry.kind == EntryKind::Membership;
        Restored {
            hard_state: self.hard,
            base: self.base.clone(),
            terms,
            last: self.last().index,
            memberships: self.entries.iter().filter(is_membership).cloned().collect(),
            tail: self.entries.clone(),
        }
    }
}
