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
    runs: VecDeque<Arc<[Entry]>>,
    /// The run that ends with what was appended last; closed by the first who asks.
    open: Vec<Entry>,
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
            self.bytes += bytes(&run);
            self.runs.push_back(run);
        }
    }

    /// The oldest.
    pub fn first(&self) -> Option<&Entry> {
        self.runs.front().map_or(&*self.open, |run| run).first()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Entry> {
        self.open.last().or_else(|| self.runs.back()?.last())
    }

    /// Forgets all entries from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.close();
        while self.last().is_some_and(|it| it.position.index >= index) {
            let run = self.runs.pop_back().expect("the last one is in it");
            self.bytes -= bytes(&run);
            let count = run.partition_point(|entry| entry.position.index < index);
            self.push_run(run[..count].into());
        }
    }

    /// Forgets the oldest runs while this is over `bytes_max`, but none that goes beyond `settled`.
    pub fn shrink(&mut self, bytes_max: usize, settled: u64) {
        let is_settled = |run: &Arc<[Entry]>| end(run) <= settled;
        while self.bytes > bytes_max && self.runs.front().is_some_and(is_settled) {
            self.bytes -= self.runs.pop_front().map_or(0, |run| bytes(&run));
        }
    }

    /// The entries from `first` on; all, if it begins after that.
    pub fn from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        let runs = self.runs.range(self.find(first)..);
        let entries = runs.flat_map(|run| run.iter()).chain(&self.open);
        entries.skip_while(move |entry| entry.position.index < first)
    }

    /// Those from `first`, at least one, up to `last` as far as they fit `bytes_max`.
    pub fn get(&mut self, first: u64, last: u64, bytes_max: usize) -> Arc<[Entry]> {
        self.close();
        if let Some(run) = self.runs.get(self.find(first)) {
            if (begin(run), end(run)) == (first, last) && bytes(run) <= bytes_max {
                return run.clone();
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
        let is_before = |run: &Arc<[Entry]>| end(run) < index;
        let newest = self.runs.len().saturating_sub(2);
        match self.runs.get(newest) {
            Some(run) if is_before(run) => newest + 1,
            Some(run) if begin(run) <= index => newest,
            _ => self.runs.partition_point(is_before),
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.runs.push_back(self.open.drain(..).collect());
        }
    }
}

fn begin(run: &[Entry]) -> u64 {
    run[0].position.index
}

fn end(run: &[Entry]) -> u64 {
    run[run.len() - 1].position.index
}

fn bytes(run: &[Entry]) -> usize {
    run.iter().map(Entry::bytes).sum()
}
