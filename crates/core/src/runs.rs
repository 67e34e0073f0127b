//! Entries in the runs they came in: whoever wants just such a run shares it, and nothing is copied.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::Entry;

/// Consecutive entries, from any index on: the core's newest ones, or a log in memory.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// Invariant: none is empty, and each follows the one before.
    runs: VecDeque<Run>,
    /// The run that ends with what was appended last; closed by the first who asks.
    open: Vec<Entry>,
    bytes: usize,
}

/// Entries that came together.
#[derive(Clone, Debug)]
struct Run {
    entries: Arc<[Entry]>,
    bytes: usize,
}

/// The same entries are the same, in whatever runs.
impl Hash for Runs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.from(0).for_each(|entry| entry.hash(state));
    }
}

impl Runs {
    /// Appends an entry, the one after the last.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.open.push(entry);
    }

    /// Appends entries that came together.
    pub fn push_run(&mut self, run: Arc<[Entry]>) {
        self.close();
        if !run.is_empty() {
            let run = Run::of(run);
            self.bytes += run.bytes;
            self.runs.push_back(run);
        }
    }

    /// The oldest.
    pub fn first(&self) -> Option<&Entry> {
        let oldest = self.runs.front();
        oldest.map_or(&*self.open, |run| &run.entries).first()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Entry> {
        self.open
            .last()
            .or_else(|| self.runs.back()?.entries.last())
    }

    /// Forgets all entries from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.close();
        while self.last().is_some_and(|it| it.position.index >= index) {
            let run = self.runs.pop_back().expect("the last one is in it");
            self.bytes -= run.bytes;
            let is_kept = |entry: &Entry| entry.position.index < index;
            let count = run.entries.partition_point(is_kept);
            self.push_run(run.entries[..count].into());
        }
    }

    /// Forgets the oldest runs while this is over `bytes_max`, but none that goes beyond `settled`.
    pub fn shrink(&mut self, bytes_max: usize, settled: u64) {
        let is_settled = |run: &Run| run.end() <= settled;
        while self.bytes > bytes_max && self.runs.front().is_some_and(is_settled) {
            self.bytes -= self.runs.pop_front().map_or(0, |run| run.bytes);
        }
    }

    /// The entries from `first` on; all, if it begins after that.
    pub fn from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        let runs = self.runs.range(self.find(first)..);
        let entries = runs.flat_map(|run| run.entries.iter()).chain(&self.open);
        entries.skip_while(move |entry| entry.position.index < first)
    }

    /// Those from `first`, at least one, up to `last` as far as they fit `bytes_max`.
    pub fn get(&mut self, first: u64, last: u64, bytes_max: usize) -> Arc<[Entry]> {
        self.close();
        if let Some(run) = self.runs.get(self.find(first)) {
            if (run.begin(), run.end()) == (first, last) && run.bytes <= bytes_max {
                return run.entries.clone();
            }
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.bytes();
            entry.position.index <= last && (bytes <= bytes_max || entry.position.index == first)
        };
        self.from(first).take_while(fits).cloned().collect()
    }

    /// The place of the run that `index` is in; the end, if none is. Most look for one of the newest two.
    fn find(&self, index: u64) -> usize {
        let is_before = |run: &Run| run.end() < index;
        let newest = self.runs.len().saturating_sub(2);
        match self.runs.get(newest) {
            Some(run) if is_before(run) => newest + 1,
            Some(run) if run.begin() <= index => newest,
            _ => self.runs.partition_point(is_before),
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.runs.push_back(Run::of(self.open.drain(..).collect()));
        }
    }
}

impl Run {
    fn of(entries: Arc<[Entry]>) -> Self {
        let bytes = entries.iter().map(Entry::bytes).sum();
        Self { entries, bytes }
    }

    fn begin(&self) -> u64 {
        self.entries[0].position.index
    }

    fn end(&self) -> u64 {
        self.entries[self.entries.len() - 1].position.index
    }
}
