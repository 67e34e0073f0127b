//! Many seeds, on as many threads as there are cores: each run has one thread, and runs don't share anything.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::run::{Options, Report, run};

/// Which seeds to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first seed.
    pub start: u64,
    /// So many seeds; the visitor may stop before.
    pub seeds: u64,
    /// So many at a time.
    pub jobs: usize,
    /// How each is run.
    pub options: Options,
}

impl Batch {
    /// Runs them. Their reports are visited in the order of the seeds, however many run at a time.
    pub fn run(&self, visit: impl FnMut(&Report) -> ControlFlow<()>) {
        let end = self.start.saturating_add(self.seeds);
        in_order(
            self.start..end,
            self.jobs,
            |seed| run(seed, &self.options),
            visit,
        );
    }
}

/// Runs seeds, so many at a time, and visits what came of them in their order.
pub fn in_order<T: Send>(
    seeds: Range<u64>,
    jobs: usize,
    run: impl Fn(u64) -> T + Sync,
    mut visit: impl FnMut(&T) -> ControlFlow<()>,
) {
    let (next, is_over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (done, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (done, next, is_over, run) = (done.clone(), &next, &is_over, &run);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || done.send((seed, run(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut early, mut wanted) = (BTreeMap::new(), seeds.start);
        for (seed, report) in reports {
            early.insert(seed, report);
            while let Some(report) = early.remove(&wanted) {
                wanted += 1;
                if visit(&report).is_break() {
                    is_over.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}
