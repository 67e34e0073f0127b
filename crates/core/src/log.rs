//! What is remembered: the terms of the whole log, its newest entries, and how far it is durable.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::{Entry, Position, Restored};

/// The log as the core sees it. Entries before the cached ones live in storage only.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    /// The log begins after this position; a snapshot covers all up to it.
    base: Position,
    /// The first position of each run of equal terms above the base.
    runs: Vec<Position>,
    /// The newest entries. Invariant: consecutive, the back one at `last`; none that is not durable is missing.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// Invariant: what it has is in the log, though not always in the cache.
    at_hand: AtHand,
    last: u64,
    /// All up to here survives a crash. Invariant: `base.index <= durable <= last`.
    durable: u64,
    /// Writes under way: their numbers, and up to which index of today's log each is good for.
    writing: VecDeque<(u64, u64)>,
    /// The first index that no write has taken yet.
    unwritten: u64,
}

/// Entries that came in or were handed out together lately: whoever else wants just these shares them.
#[derive(Clone, Debug, Default)]
struct AtHand(VecDeque<Arc<[Entry]>>);

impl AtHand {
    /// Enough for what is written and what is applied, and what comes in between.
    const COUNT_MAX: usize = 4;
}

/// The log has all of it anyhow: two that differ here only are the same.
impl Hash for AtHand {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Log {
    pub(crate) fn new(restored: Restored) -> Self {
        Self {
            base: restored.base.position,
            runs: restored.terms,
            cache_bytes: restored.tail.iter().map(Entry::bytes).sum(),
            cache: restored.tail.into(),
            at_hand: AtHand::default(),
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

    /// The time of the newest entry, if it is cached.
    pub(crate) fn last_time(&self) -> u64 {
        self.cache.back().map_or(0, |entry| entry.time)
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
        let Position { index, term } = entry.position;
        assert_eq!(
            index,
            self.last + 1,
            "entries are appended one after another"
        );
        assert!(
            term >= self.last().term,
            "terms never go back along the log"
        );
        if term > self.last().term {
            self.runs.push(entry.position);
        }
        self.last = index;
        self.cache_bytes += entry.bytes();
        self.cache.push_back(entry);
    }

    /// Forgets all entries from `index` on. What is being written of them no longer counts when it is flushed.
    pub(crate) fn truncate(&mut self, index: u64) {
        assert!(
            index > self.base.index,
            "what a snapshot covers is never truncated"
        );
        while self
            .cache
            .back()
            .is_some_and(|entry| entry.position.index >= index)
        {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.runs.retain(|run| run.index < index);
        self.end_at(index - 1);
    }

    fn end_at(&mut self, last: u64) {
        self.last = last;
        self.at_hand = AtHand::default();
        self.durable = self.durable.min(last);
        self.unwritten = self.unwritten.min(last + 1);
        self.writing
            .iter_mut()
            .for_each(|(_, good)| *good = last.min(*good));
    }

    /// Lets the log begin after `base`: an entry there with the same term keeps what follows it, else all goes.
    pub(crate) fn begin_at(&mut self, base: Position) {
        assert!(base.index >= self.base.index, "the base never goes back");
        if self.contains(base) {
            self.runs.retain(|run| run.index > base.index);
            while self
                .cache
                .front()
                .is_some_and(|entry| entry.position.index <= base.index)
            {
                self.evict();
            }
            self.unwritten = self.unwritten.max(base.index + 1);
        } else {
            self.runs.clear();
            self.cache.clear();
            self.cache_bytes = 0;
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
        let settled = committed.min(self.durable);
        let is_settled = |entry: &Entry| entry.position.index <= settled;
        while self.cache_bytes > bytes_max && self.cache.front().is_some_and(is_settled) {
            self.evict();
        }
    }

    fn evict(&mut self) {
        self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| entry.bytes());
    }

    /// The index of the oldest cached entry; one past the last if there is none.
    pub(crate) fn cached_from(&self) -> u64 {
        self.last + 1 - self.cache.len() as u64
    }

    /// The bytes of those entries from `first` to `last` that are cached.
    pub(crate) fn cached_bytes(&self, first: u64, last: u64) -> usize {
        let wanted = |entry: &&Entry| entry.position.index >= first;
        let newest = self
            .cache
            .iter()
            .rev()
            .skip_while(|entry| entry.position.index > last);
        newest.take_while(wanted).map(Entry::bytes).sum()
    }

    /// The entries from `first` to `last`, at least one and then as many as fit `bytes_max`; `None` if the first
    /// is not cached.
    pub(crate) fn cached(
        &mut self,
        first: u64,
        last: u64,
        bytes_max: usize,
    ) -> Option<Arc<[Entry]>> {
        let skip = first.checked_sub(self.cached_from())? as usize;
        let is_it = |run: &&Arc<[Entry]>| {
            run[0].position.index == first
                && first + run.len() as u64 - 1 == last
                && run.iter().map(Entry::bytes).sum::<usize>() <= bytes_max
        };
        if let Some(run) = self.at_hand.0.iter().find(is_it) {
            return Some(run.clone());
        }
        let run = self.copied(skip, last, bytes_max);
        self.keep_at_hand(run.clone());
        Some(run)
    }

    /// All of `run` stands in the log now: the next who asks most likely wants it.
    pub(crate) fn keep_at_hand(&mut self, run: Arc<[Entry]>) {
        if !run.is_empty() {
            self.at_hand.0.truncate(AtHand::COUNT_MAX - 1);
            self.at_hand.0.push_front(run);
        }
    }

    fn copied(&self, skip: usize, last: u64, bytes_max: usize) -> Arc<[Entry]> {
        let from = skip.min(self.cache.len());
        let first = self.cached_from() + from as u64;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.bytes();
            entry.position.index <= last && (bytes <= bytes_max || entry.position.index == first)
        };
        // Counted first: what is copied as a whole is copied fastest.
        let count = self.cache.range(from..).take_while(fits).count();
        self.cache.range(from..from + count).cloned().collect()
    }
}

#[cfg(test)]
#[path = "tests/log.rs"]
mod tests;
