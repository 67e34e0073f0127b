//! The applier's turn: on the applier thread, or on a caller's after all cores are free.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use little_raft_core::Input;

use super::{CALLER_BUDGET, Shell, caller, panicked, transfers};
use crate::combine::{Pushed, TakeIn, fill};
use crate::driver::{Applied, Applier, ApplyWork, Done, Event, Job, Whole};
use crate::error::StopReason;
use crate::machine::StateMachine;
use crate::{storage, timer};

/// How many pieces of work a caller does.
const CALLER_SLICE: usize = 64;
/// Longer than this, and callers are kept away until it is quick again (nanoseconds).
const SLOW: u64 = 1_000_000;

/// The applier and the work it has taken.
pub(super) struct Lane<M: StateMachine> {
    pub(super) applier: Box<Applier<M>>,
    pub(super) batch: VecDeque<ApplyWork<M>>,
}

impl<M: StateMachine> Lane<M> {
    pub(super) fn new(applier: Applier<M>) -> Self {
        Self {
            applier: Box::new(applier),
            batch: VecDeque::new(),
        }
    }
}

impl<M: StateMachine> TakeIn<ApplyWork<M>> for Lane<M> {
    fn take_in(&mut self, queue: &mut VecDeque<ApplyWork<M>>) -> bool {
        fill(&mut self.batch, queue, CALLER_SLICE);
        !self.batch.is_empty()
    }
}

impl<M: StateMachine> caller::Apply for Shell<M> {
    fn apply_some(self: Arc<Self>, clock: &mut u64) {
        if let Some(lane) = self.lane.grab() {
            self.run_lane(lane, CALLER_SLICE, clock);
        }
    }

    fn leave_to_thread(&self) {
        self.lane_bell.ring();
    }
}

impl<M: StateMachine> Shell<M> {
    pub(super) fn lane_is_slow(&self) -> bool {
        self.lane_is_slow.load(Ordering::Relaxed)
    }

    /// `clock` is the time, read after whatever was done before. Applies until nothing waits, or until `budget` pieces of work are done: then the applier thread goes on.
    pub(super) fn run_lane(self: &Arc<Self>, lane: Lane<M>, budget: usize, clock: &mut u64) {
        let mut held = Some(lane);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.serve_lane(&mut held, budget, clock)
        }));
        let reason = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(panic) => panicked(&*panic),
        };
        // First the reason, then the end of those who wait: they may ask for it.
        self.core.refuse();
        self.board.stopped(reason.clone());
        drop(self.lane.close_taken());
        drop(held);
        self.fail(reason);
    }

    fn serve_lane(
        self: &Arc<Self>,
        held: &mut Option<Lane<M>>,
        budget: usize,
        clock: &mut u64,
    ) -> Result<(), StopReason> {
        let mut left = budget;
        while let Some(lane) = held.as_mut() {
            while left > 0 {
                let Some(work) = lane.batch.pop_front() else {
                    break;
                };
                let slow = self.apply_one(lane, work, clock)?;
                let keep_away = slow && budget < usize::MAX;
                left = if keep_away { 0 } else { left - 1 };
            }
            let lane = held.take().expect("held in this loop");
            if left > 0 {
                *held = self.lane.next(lane);
                continue;
            }
            // What it has taken and not done stays with it, for the thread.
            let unfinished = !lane.batch.is_empty();
            if self.lane.put_down(lane) || unfinished {
                self.lane_bell.ring();
            }
        }
        Ok(())
    }

    /// Does one piece of work; whether it took long.
    fn apply_one(
        self: &Arc<Self>,
        lane: &mut Lane<M>,
        work: ApplyWork<M>,
        clock: &mut u64,
    ) -> Result<bool, StopReason> {
        let done = {
            let _running = caller::Running::enter();
            lane.applier.run(work)?
        };
        let begun = std::mem::replace(clock, timer::monotonic());
        let slow = *clock - begun > SLOW;
        self.lane_is_slow.store(slow, Ordering::Relaxed);
        self.applied(done);
        Ok(slow)
    }

    fn applied(self: &Arc<Self>, done: Done<M>) {
        if let Some(applied) = done.applied {
            self.report(applied);
        }
        if let Some(send) = done.source_failed {
            self.complete(Event::core(Input::SendFailed {
                to: send.to,
                transfer: send.transfer,
            }));
        }
        match done.job.map(|job| *job) {
            None => {}
            Some(Job::Save(base, whole)) => self.save(base, whole),
            Some(Job::Serve(send, source)) => transfers::serve(self, send, source),
        }
    }

    /// Tells the core, though not by a run of its own if nothing hangs on it.
    fn report(self: &Arc<Self>, applied: Applied<M::Response>) {
        let in_passing = applied.is_index_only();
        let event = Event::Applied(applied);
        if !in_passing {
            self.complete(event);
        } else if let Pushed::Run(core) = self.core.leave_unless_awaited(event) {
            self.run(core, CALLER_BUDGET);
        }
    }

    /// Writes a snapshot in the background.
    fn save(self: &Arc<Self>, base: little_raft_core::Base, mut whole: Whole<M::Snapshot>) {
        let started = self.spawn("raft-snapshot", move |shell| {
            let saved = catch_unwind(AssertUnwindSafe(|| {
                storage::save(&*shell.snapshots, &base, &mut whole)
            }));
            match saved {
                Ok(Ok(())) => shell.complete(Event::Saved(Some(base))),
                Ok(Err(error)) => {
                    tracing::warn!(at = %base.position, %error, "no snapshot was saved; the log grows on");
                    shell.complete(Event::Saved(None));
                }
                Err(panic) => shell.fail(panicked(&*panic)),
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for a snapshot; the log grows on");
            self.complete(Event::Saved(None));
        }
    }
}
