//! A disk that forgets on a crash what was not flushed, or not all of it.

use std::collections::{BTreeMap, VecDeque};

use little_raft_core::{Base, Entry, HardState, Membership, Position, Restored, Write};

use crate::coverage::Situation;
use crate::machine::Snapshot;
use crate::random::Random;

/// What a log on disk amounts to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard: HardState,
    pub(crate) base: Base,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The memberships among the entries, by index.
    changes: BTreeMap<u64, Membership>,
}

impl Image {
    fn take(&mut self, write: &Write) {
        self.hard = write.hard_state;
        if let Some(base) = &write.base {
            self.begin_at(base);
        }
        if let Some(first) = write.entries.first() {
            self.entries.split_off(&first.position.index);
            self.changes.split_off(&first.position.index);
        }
        let changes = write.entries.iter();
        let changes = changes.filter_map(|it| Some((it.position.index, it.membership()?)));
        self.changes.extend(changes);
        let new = write.entries.iter().cloned();
        self.entries
            .extend(new.map(|entry| (entry.position.index, entry)));
    }

    fn begin_at(&mut self, base: &Base) {
        let above = self.entries.split_off(&(base.position.index + 1));
        self.changes = self.changes.split_off(&(base.position.index + 1));
        if self.term_at(base.position.index) == Some(base.position.term) {
            self.entries = above;
        } else {
            self.entries.clear();
            self.changes.clear();
        }
        self.base = base.clone();
    }

    pub(crate) fn last(&self) -> u64 {
        let last = self.entries.last_key_value();
        last.map_or(self.base.position.index, |(&index, _)| index)
    }

    /// Where this log ends.
    pub(crate) fn last_position(&self) -> Position {
        let last = self.entries.last_key_value();
        last.map_or(self.base.position, |(_, entry)| entry.position)
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.position.index {
            return Some(self.base.position.term);
        }
        self.entries.get(&index).map(|entry| entry.position.term)
    }

    /// Whether this log holds the entry, itself or in the snapshot it begins after.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.index <= self.base.position.index
            || self.term_at(position.index) == Some(position.term)
    }

    /// The membership in force: the newest in the log.
    pub(crate) fn membership(&self) -> &Membership {
        let newest = self.changes.last_key_value();
        newest.map_or(&self.base.membership, |(_, membership)| membership)
    }

    /// Where the membership stands that is in force just before `index`.
    pub(crate) fn change_before(&self, index: u64) -> Position {
        let before = self.changes.range(..index).next_back();
        before.map_or(self.base.position, |(index, _)| {
            self.entries[index].position
        })
    }

    /// What a replica is told at its start, with no more than `tail` entries in memory.
    pub(crate) fn restored(&self, tail: u64) -> Restored {
        let mut terms: Vec<Position> = Vec::new();
        for entry in self.entries.values() {
            let before = terms.last().unwrap_or(&self.base.position);
            if entry.position.term > before.term {
                terms.push(entry.position);
            }
        }
        let from = (self.last() + 1).saturating_sub(tail.max(1));
        Restored {
            hard_state: self.hard,
            base: self.base.clone(),
            terms,
            last: self.last(),
            memberships: self
                .changes
                .keys()
                .map(|index| self.entries[index].clone())
                .collect(),
            tail: self.entries.range(from..).map(|(_, e)| e.clone()).collect(),
        }
    }
}

/// A replica's disk. It survives crashes of the replica.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What a crash can't take.
    pub(crate) durable: Image,
    /// What there would be if all writes under way were flushed.
    pub(crate) logical: Image,
    pending: VecDeque<Write>,
    /// So many of the pending writes belong to the flush under way.
    flushing: usize,
    /// Snapshot files that are whole and durable, by the index they cover.
    pub(crate) snapshots: BTreeMap<u64, Snapshot>,
}

impl Disk {
    pub(crate) fn new(base: Base) -> Self {
        let image = Image {
            base,
            ..Image::default()
        };
        Self {
            durable: image.clone(),
            logical: image,
            ..Self::default()
        }
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing > 0
    }

    /// So many writes are not known to be durable.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// So many of them belong to the flush under way.
    pub(crate) fn in_flush(&self) -> usize {
        self.flushing
    }

    /// What it means for what is there, and for what is under way, if this is written.
    pub(crate) fn situations(&self, write: &Write) -> Vec<Situation> {
        let joint = write.base.as_ref().filter(|it| it.membership.is_joint());
        let mut reached: Vec<Situation> = joint
            .map(|_| Situation::SnapshotInJoint)
            .into_iter()
            .collect();
        let Some(first) = write.entries.first().map(|entry| entry.position.index) else {
            return reached;
        };
        if first <= self.logical.last() {
            reached.push(Situation::TailReplaced);
        }
        let in_flush = self.pending.iter().take(self.flushing);
        let mut in_flush = in_flush.filter_map(|it| it.entries.last());
        if in_flush.any(|last| last.position.index >= first) {
            reached.push(Situation::ReplacedInFlush);
        }
        if self.logical.changes.range(first..).next().is_some() {
            reached.push(Situation::ChangeCutOff);
        }
        reached
    }

    pub(crate) fn submit(&mut self, write: Write) {
        self.logical.take(&write);
        self.pending.push_back(write);
    }

    /// Begins a flush of up to `most` queued writes, unless one is under way or there is nothing to flush.
    pub(crate) fn begin_flush(&mut self, most: usize) -> bool {
        if self.flushing > 0 || self.pending.is_empty() {
            return false;
        }
        self.flushing = self.pending.len().min(most);
        true
    }

    /// Ends the flush; the number of the last write in it.
    pub(crate) fn end_flush(&mut self) -> u64 {
        let mut number = 0;
        for write in self.pending.drain(..self.flushing) {
            self.durable.take(&write);
            number = write.number;
        }
        self.flushing = 0;
        self.drop_snapshots();
        number
    }

    /// Of what was being flushed any beginning may survive; of what was only queued, nothing.
    /// How many writes are lost.
    pub(crate) fn crash(&mut self, random: &mut Random) -> usize {
        let survive = random.below(self.flushing as u64 + 1) as usize;
        for write in self.pending.drain(..survive) {
            self.durable.take(&write);
        }
        let lost = self.pending.len();
        self.pending.clear();
        self.flushing = 0;
        self.logical = self.durable.clone();
        lost
    }

    /// The newest snapshot that `log` continues.
    pub(crate) fn newest_snapshot<'a>(&'a self, log: &'a Image) -> Option<&'a Snapshot> {
        self.continued_snapshots(log).next_back()
    }

    /// The snapshots that `log` continues, oldest first.
    pub(crate) fn continued_snapshots<'a>(
        &'a self,
        log: &'a Image,
    ) -> impl DoubleEndedIterator<Item = &'a Snapshot> {
        let continued = |snapshot: &&Snapshot| {
            let position = snapshot.base.position;
            log.term_at(position.index) == Some(position.term)
        };
        self.snapshots.values().filter(continued)
    }

    /// A snapshot may go once a newer one, no younger than the durable base, does its work.
    fn drop_snapshots(&mut self) {
        let base = self.durable.base.position.index;
        let is_done = |second: Option<&u64>| second.is_some_and(|&second| second <= base);
        while self.snapshots.len() > 2 && is_done(self.snapshots.keys().nth(1)) {
            self.snapshots.pop_first();
        }
    }
}
