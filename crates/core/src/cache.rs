//! The newest entries, in the runs they came in: whoever wants just such a run shares it, and nothing is copied.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::Entry;

/// Consecutive entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    /// Each with its first index. Invariant: none is empty, and each follows the one before.
    runs: VecDeque<(u64, Arc<[Entry]>)>,
    /// The run that ends with what was appended last; closed by the first who asks.
    open: Vec<Entry>,
    bytes: usize,
}

/// The same entries are the same cache, in whatever runs.
impl Hash for Cache {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.from(0).for_each(|entry| entry.hash(state));
    }
}

impl Cache {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.open.push(entry);
    }

    pub(crate) fn push_run(&mut self, run: Arc<[Entry]>) {
        self.close();
        if let Some(first) = run.first() {
            self.bytes += bytes(&run);
            self.runs.push_back((first.position.index, run));
        }
    }

    pub(crate) fn last(&self) -> Option<&Entry> {
        let run = self.runs.back().map_or(&[][..], |(_, run)| run);
        self.open.last().or(run.last())
    }

    /// The index of the oldest entry.
    pub(crate) fn first_index(&self) -> Option<u64> {
        let open = self.open.first().map(|entry| entry.position.index);
        self.runs.front().map(|(first, _)| *first).or(open)
    }

    /// Forgets all entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        self.close();
        while self.last().is_some_and(|it| it.position.index >= index) {
            let (first, run) = self.runs.pop_back().expect("the last one is in it");
            self.bytes -= bytes(&run);
            self.push_run(run[..index.saturating_sub(first) as usize].into());
        }
    }

    /// Forgets the oldest runs while this is over `bytes_max`, but none that goes beyond `settled`.
    pub(crate) fn shrink(&mut self, bytes_max: usize, settled: u64) {
        let ends = |(first, run): &(u64, Arc<[Entry]>)| first + run.len() as u64 <= settled + 1;
        while self.bytes > bytes_max && self.runs.front().is_some_and(ends) {
            self.bytes -= self.runs.pop_front().map_or(0, |(_, run)| bytes(&run));
        }
    }

    /// The entries from `first` on; all, if it begins after that.
    pub(crate) fn from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        let runs = self.runs.range(self.find(first)..);
        let entries = runs.flat_map(|(_, run)| run.iter()).chain(&self.open);
        entries.skip_while(move |entry| entry.position.index < first)
    }

    /// Those from `first`, at least one, up to `last` as far as they fit `bytes_max`.
    pub(crate) fn get(&mut self, first: u64, last: u64, bytes_max: usize) -> Arc<[Entry]> {
        self.close();
        if let Some((begin, run)) = self.runs.get(self.find(first)) {
            let is_it = (first, last + 1) == (*begin, begin + run.len() as u64);
            if is_it && bytes(run) <= bytes_max {
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

    /// The place of the last run that does not begin after `index`. Most look for one of the newest.
    fn find(&self, index: u64) -> usize {
        let newest = self.runs.len().saturating_sub(2);
        let is_before = |(first, _): &(u64, _)| *first <= index;
        let count = match self.runs.get(newest).is_some_and(is_before) {
            true => {
                newest
                    + self
                        .runs
                        .range(newest..)
                        .take_while(|run| is_before(run))
                        .count()
            }
            false => self.runs.partition_point(is_before),
        };
        count.saturating_sub(1)
    }

    fn close(&mut self) {
        if let Some(first) = self.open.first() {
            let first = first.position.index;
            self.runs.push_back((first, self.open.drain(..).collect()));
        }
    }
}

fn bytes(run: &[Entry]) -> usize {
    run.iter().map(Entry::bytes).sum()
}
