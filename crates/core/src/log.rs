//! What is remembered: the terms of the whole log, its newest entries, and how far it is durable.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::plant::planted;
use crate::{Entry, Position, Restored, Runs};

/// The log as the core sees it. Entries before the cached ones live in storage only.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    /// The log begins after this position; a snapshot covers all up to it.
    base: Position,
    /// The first position of each run of equal terms above the base.
    runs: Vec<Position>,
    /// The newest entries. Invariant: consecutive, the back one at `last`; none that is not durable is missing.
    cache: Runs,
    last: u64,
    /// No entry was ever later than this.
    time: u64,
    /// All up to here survives a crash. Invariant: `base.index <= durable <= last`.
    durable: u64,
    /// Writes under way: their numbers, and up to which index of today's log each is good for.
    writing: VecDeque<(u64, u64)>,
    /// The first index that no write has taken yet.
    unwritten: u64,
}

impl Log {
    pub(crate) fn new(restored: Restored) -> Self {
        let mut cache = Runs::default();
        cache.push_run(restored.tail.into());
        Self {
            base: restored.base.position,
            runs: restored.terms,
            time: cache.last().map_or(0, |entry| entry.time),
            cache,
            last: restored.last,
            durable: restored.last,
            writing: VecDeque::new(),
            unwritten: restored.last + 1,
        }
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// The place of the last entry.
    pub(crate) fn last(&self) -> Position {
        let term = self.runs.last().unwrap_or(&self.base).term;
        Position::new(self.last, term)
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index < self.base.index || index > self.last {
            return None;
        }
        let run = self.runs.partition_point(|run| run.index <= index);
        Some(
            run.checked_sub(1)
                .map_or(self.base, |run| self.runs[run])
                .term,
        )
    }

    /// The time of the newest entry, or a later one, also once it is no longer cached.
    pub(crate) fn last_time(&self) -> u64 {
        self.time
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The last place at or below `limit.index` whose term is at most `limit.term`; the base, if there is none.
    ///
    /// Two logs that differ at `limit` can be equal no later than at the smaller of their answers, which skips a
    /// whole term at a time (Raft, end of section 5.3).
    pub(crate) fn floor(&self, limit: Position) -> Position {
        let mut index = limit.index.min(self.last);
        for run in self
            .runs
            .iter()
            .rev()
            .skip_while(|run| run.index > limit.index)
        {
            if run.term <= limit.term {
                return Position::new(index, run.term);
            }
            index = run.index - 1;
        }
        if self.base.term <= limit.term {
            return Position::new(index, self.base.term);
        }
        self.base
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        self.reach(&entry);
        self.cache.push(entry);
    }

    /// The same for consecutive entries that came together.
    pub(crate) fn append_run(&mut self, run: Arc<[Entry]>) {
        run.iter().for_each(|entry| self.reach(entry));
        self.cache.push_run(run);
    }

    #[inline]
    fn reach(&mut self, entry: &Entry) {
        let Position { index, term } = entry.position;
        assert_eq!(
            index,
            self.last + 1,
            "entries are appended one after another"
        );
        let last_term = self.last().term;
        assert!(term >= last_term, "terms never go back along the log");
        if term > last_term {
            self.runs.push(entry.position);
        }
        self.last = index;
        self.time = self.time.max(entry.time);
    }

    /// Forgets all entries from `index` on. What is being written of them no longer counts when it is flushed.
    pub(crate) fn truncate(&mut self, index: u64) {
        assert!(
            index > self.base.index,
            "what a snapshot covers is never truncated"
        );
        self.cache.truncate(index);
        self.runs.retain(|run| run.index < index);
        self.end_at(index - 1);
    }

    fn end_at(&mut self, last: u64) {
        self.last = last;
        self.durable = self.durable.min(last);
        self.unwritten = self.unwritten.min(last + 1);
        if planted!(P15) {
            return;
        }
        self.writing
            .iter_mut()
            .for_each(|(_, good)| *good = last.min(*good));
    }

    /// Lets the log begin after `base`: an entry there with the same term keeps what follows it, else all goes.
    pub(crate) fn begin_at(&mut self, base: Position) {
        assert!(base.index >= self.base.index, "the base never goes back");
        if self.contains(base) || planted!(P42) && self.last > base.index {
            self.runs.retain(|run| run.index > base.index);
            self.cache.shrink(0, base.index);
            self.unwritten = self.unwritten.max(base.index + 1);
        } else {
            self.runs.clear();
            self.cache = Runs::default();
            self.end_at(base.index);
            self.last = base.index;
            self.unwritten = base.index + 1;
        }
        self.base = base;
        // The snapshot that stands for them is durable.
        self.durable = self.durable.max(base.index);
    }

    /// The entries that no write has taken yet, for the write of this number.
    pub(crate) fn take_unwritten(&mut self, number: u64) -> Arc<[Entry]> {
        let entries = self.cached(self.unwritten, self.last, usize::MAX);
        self.unwritten = self.last + 1;
        self.writing.push_back((number, self.last));
        entries.expect("what is not durable is cached")
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        self.unwritten <= self.last
    }

    /// The write of this number, and all before it, are durable.
    pub(crate) fn flushed(&mut self, number: u64) {
        while self
            .writing
            .front()
            .is_some_and(|(write, _)| *write <= number)
        {
            let good = self.writing.pop_front().map_or(0, |(_, good)| good);
            self.durable = self.durable.max(good);
        }
    }

    /// Drops the oldest cached entries beyond `bytes_max`, but none that is not both durable and committed.
    pub(crate) fn shrink(&mut self, bytes_max: usize, committed: u64) {
        self.cache.shrink(bytes_max, committed.min(self.durable));
    }

    /// The index of the oldest cached entry; one past the last if there is none.
    pub(crate) fn cached_from(&self) -> u64 {
        let first = self.cache.first();
        let first = first.map_or(self.last, |entry| entry.position.index - 1);
        first.max(self.base.index) + 1
    }

    /// The bytes of those entries from `first` to `last` that are cached.
    pub(crate) fn cached_bytes(&self, first: u64, last: u64) -> usize {
        let entries = self.cache.from(first);
        let wanted = entries.take_while(|entry| entry.position.index <= last);
        wanted.map(Entry::bytes).sum()
    }

    /// The entries from `first` to `last`, at least one and then as many as fit `bytes_max`; `None` if the first
    /// is not cached.
    pub(crate) fn cached(
        &mut self,
        first: u64,
        last: u64,
        bytes_max: usize,
    ) -> Option<Arc<[Entry]>> {
        (first >= self.cached_from()).then(|| self.cache.get(first, last, bytes_max))
    }
}

#[cfg(test)]
#[path = "tests/log.rs"]
mod tests;
