//! The hand-over under every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p little-raft --release --test loom`.
#![cfg(loom)]
#![allow(missing_docs)]

use std::collections::VecDeque;

use combine::{Combine, Pushed, TakeIn, fill};
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
    batch: VecDeque<u32>,
    seen: Vec<u32>,
    awaiting: bool,
}

impl TakeIn<u32> for Log {
    fn take_in(&mut self, queue: &mut VecDeque<u32>) -> bool {
        fill(&mut self.batch, queue, 1);
        !self.batch.is_empty()
    }

    fn is_awaiting(&self) -> bool {
        self.awaiting
    }
}

struct Model {
    combine: Combine<u32, Log>,
    inside: AtomicUsize,
}

impl Model {
    fn new() -> Arc<Self> {
        let log = Log {
            batch: VecDeque::new(),
            seen: Vec::new(),
            awaiting: false,
        };
        Arc::new(Self {
            combine: Combine::new(log, 8),
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
        while let Some(mut log) = held.take() {
            log.seen.extend(log.batch.drain(..));
            // Left before the state is given back: the next one may enter at once.
            self.inside.fetch_sub(1, Ordering::SeqCst);
            held = self.combine.next(log);
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

/// The state says that it waits for a completion, while that completion is left in passing.
#[test]
fn what_is_left_in_passing_is_run_if_it_is_awaited() {
    loom::model(|| {
        let model = Model::new();
        let other = thread::spawn({
            let model = model.clone();
            move || match model.combine.leave_unless_awaited(1) {
                Pushed::Queued => {}
                Pushed::Run(log) => model.run(log),
                Pushed::Full(_) | Pushed::Closed(_) => panic!("it has room always"),
            }
        });
        let Some(mut log) = model.combine.grab() else {
            panic!("nobody takes it before it is awaited");
        };
        log.awaiting = true;
        model.run(log);
        other.join().expect("no panic");
        let (log, left) = model.combine.close().expect("closed once");
        assert_eq!((log.seen, left.len()), (vec![1], 0));
    });
}
