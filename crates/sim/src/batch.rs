//! Many seeds, on as many threads as there are cores: each run has one thread, and runs don't share anything.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
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
    pub fn run(&self, mut visit: impl FnMut(&Report) -> ControlFlow<()>) {
        let end = self.start.saturating_add(self.seeds);
        let (next, is_over) = (AtomicU64::new(self.start), AtomicBool::new(false));
        let (done, reports) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                let (done, next, is_over) = (done.clone(), &next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let is_wanted = seed < end;
                        if !is_wanted || done.send(run(seed, &self.options)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(done);
            let (mut early, mut wanted) = (BTreeMap::new(), self.start);
            for report in reports {
                early.insert(report.seed, report);
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
}
