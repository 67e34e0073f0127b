//! The hand-over under every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p little-raft --release --test loom`.
#![cfg(loom)]
#![allow(missing_docs)]

use std::collections::VecDeque;

use combine::{Combine, Pushed};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

#[allow(dead_code)]
#[path = "../src/combine.rs"]
mod combine;

/// What is run: it notes the inputs in order, and whether two threads ever run it at once.
struct Log {
    seen: Vec<u32>,
}

struct Model {
    combine: Combine<u32, Log>,
    inside: AtomicUsize,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            combine: Combine::new(Log { seen: Vec::new() }, 8),
            inside: AtomicUsize::new(0),
        })
    }

    fn bring(&self, input: u32) {
        match self.combine.push(input) {
            Pushed::Queued | Pushed::Closed(_) => {}
            Pushed::Run(log) => self.run(log),
            Pushed::Full(_) => panic!("there is room for all"),
        }
    }

    fn run(&self, log: Log) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two run it");
        let mut held = Some(log);
        let mut batch = VecDeque::new();
        while let Some(mut log) = held.take() {
            self.combine.refill(&mut batch, 1);
            log.seen.extend(batch.drain(..));
            // Left before the state is given back: the next one may enter at once.
            self.inside.fetch_sub(1, Ordering::SeqCst);
            held = self.combine.give_back(log);
            if held.is_some() {
                self.inside.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn no_input_is_left_behind_and_one_thread_runs() {
    loom::model(|| {
        let model = Model::new();
        let other = thread::spawn({
            let model = model.clone();
            move || {
                model.bring(1);
                model.bring(2);
            }
        });
        model.bring(3);
        other.join().expect("no panic");
        // Nobody runs any more: whatever was brought has been seen, and in each bringer's order.
        let (log, left) = model.combine.close().expect("closed once");
        assert!(left.is_empty(), "left behind: {left:?}");
        let mut seen = log.seen.clone();
        seen.retain(|input| *input != 3);
        assert_eq!(seen, [1, 2]);
        assert_eq!(log.seen.len(), 3);
    });
}

#[test]
fn closing_waits_for_the_run_and_loses_nothing() {
    loom::model(|| {
        let model = Model::new();
        let taken = Arc::new(AtomicUsize::new(0));
        let other = thread::spawn({
            let (model, taken) = (model.clone(), taken.clone());
            move || match model.combine.push(7) {
                Pushed::Queued => panic!("nobody runs it but the closer"),
                Pushed::Run(log) => {
                    taken.fetch_add(1, Ordering::SeqCst);
                    model.run(log);
                }
                Pushed::Full(_) => panic!("there is room"),
                Pushed::Closed(_) => {}
            }
        });
        let (log, left) = model.combine.close().expect("closed once");
        other.join().expect("no panic");
        let accounted = log.seen.len() + left.len();
        assert_eq!(accounted, taken.load(Ordering::SeqCst));
    });
}

#[test]
fn what_is_left_for_a_thread_is_found_by_it_or_by_who_runs() {
    loom::model(|| {
        let model = Model::new();
        let other = thread::spawn({
            let model = model.clone();
            move || {
                // The applier's way: leave work, then somebody is told to look.
                assert!(matches!(model.combine.leave(1), Pushed::Queued));
                if let Some(log) = model.combine.grab() {
                    model.run(log);
                }
            }
        });
        assert!(matches!(model.combine.leave(2), Pushed::Queued));
        if let Some(log) = model.combine.grab() {
            model.run(log);
        }
        other.join().expect("no panic");
        let (log, left) = model.combine.close().expect("closed once");
        assert_eq!((log.seen.len(), left.len()), (2, 0));
    });
}
