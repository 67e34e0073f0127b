//! The end of a replica, asked for or not: everybody who waits is answered, every thread is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use little_raft_core::Input;

use super::{Core, Shell, caller, refuse_all};
use crate::driver::{ApplyWork, Event};
use crate::error::StopReason;
use crate::machine::StateMachine;
use crate::timer;

/// How long a leader that stops waits at most for its successor: there may be none left.
const HAND_OVER_MAX: Duration = Duration::from_millis(500);

/// Whether the end has begun and is complete.
#[derive(Default)]
pub(super) struct Finish {
    state: Mutex<Stage>,
    done: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    #[default]
    Running,
    Stopping,
    Done,
}

impl Finish {
    /// True for the one who is first, and must do it.
    fn begin(&self) -> bool {
        let mut stage = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *stage == Stage::Running;
        if first {
            *stage = Stage::Stopping;
        }
        first
    }

    fn complete(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Done;
        self.done.notify_all();
    }

    fn wait(&self) {
        let mut stage = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while *stage != Stage::Done {
            stage = self
                .done
                .wait(stage)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<M: StateMachine> Shell<M> {
    /// Stops in order, and waits for it. Inside a run of this replica (its own state machine asks for it) it only
    /// begins the end, since waiting there would never end.
    pub(crate) fn stop(self: &Arc<Self>) {
        if caller::is_running() {
            return self.fail(StopReason::Requested);
        }
        if self.finish.begin() {
            self.hand_over();
            let closed = self.core.close();
            self.end(StopReason::Requested, closed);
        } else {
            self.finish.wait();
        }
    }

    /// A leader that stops hands over first, so that nobody has to find out that it is gone.
    fn hand_over(self: &Arc<Self>) {
        let mut watch = self.board.watch();
        let election = self.board.status().timing.election;
        let until = Instant::now() + election.min(HAND_OVER_MAX);
        self.call(Event::core(Input::Transfer { to: None }));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match watch.next().wait_timeout(left) {
                Ok(Ok(status)) if status.is_worth_handing_over() => {}
                _ => return,
            }
        }
    }

    /// Stops because something broke; does not wait.
    pub(super) fn fail(self: &Arc<Self>, reason: StopReason) {
        self.core.refuse();
        self.board.stopped(reason.clone());
        if self.finish.begin() {
            report(&reason);
            self.reap(move |shell| {
                let closed = shell.core.close();
                shell.end(reason, closed);
            });
        }
    }

    /// The same, by who holds the core. Nothing is dropped here: this may be a thread that the cluster waits for.
    pub(super) fn fail_holding(self: &Arc<Self>, reason: StopReason, held: Option<Box<Core<M>>>) {
        self.board.stopped(reason.clone());
        let queued = self.core.close_taken();
        let first = self.finish.begin();
        report(&reason);
        self.reap(move |shell| {
            let closed = held.map(|core| (core, queued));
            if first {
                shell.end(reason, closed);
            } else if let Some((mut core, queued)) = closed {
                end_core(&mut core, queued);
            }
        });
    }

    fn reap(self: &Arc<Self>, body: impl FnOnce(Arc<Self>) + Send + 'static) {
        let shell = self.clone();
        let started = thread::Builder::new()
            .name("raft-stop".into())
            .spawn(move || body(shell));
        if let Err(error) = started {
            tracing::error!(%error, "no thread could be started to stop the replica in order");
            self.finish.complete();
        }
    }

    #[expect(clippy::type_complexity, reason = "what `Combine::close` gives")]
    fn end(
        self: &Arc<Self>,
        reason: StopReason,
        closed: Option<(Box<Core<M>>, VecDeque<Event<M>>)>,
    ) {
        self.board.stopped(reason.clone());
        timer::unregister(&self.alarm);
        self.transfers.end_all();
        self.helper.close();
        self.store.close();
        self.log.close();
        self.lane_bell.close();
        self.end_lane(&reason);
        if let Some((mut core, queued)) = closed {
            end_core(&mut core, queued);
        }
        self.join_threads();
        self.finish.complete();
    }

    /// What is committed is still applied, and answered, if the end is in order.
    fn end_lane(self: &Arc<Self>, reason: &StopReason) {
        let Some((mut lane, works)) = self.lane.close() else {
            return;
        };
        if reason.is_failure() {
            return;
        }
        let taken = std::mem::take(&mut lane.batch);
        for work in taken.into_iter().chain(works) {
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let is_reading = matches!(work, ApplyWork::Batch(_) | ApplyWork::Reads(_));
                is_reading.then(|| lane.applier.run(work))
            }));
            if !matches!(run, Ok(None | Some(Ok(_)))) {
                return;
            }
        }
    }

    fn join_threads(&self) {
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        for thread in threads {
            if thread.thread().id() != thread::current().id() {
                // Every body catches panics and reports them as the reason of the end.
                let _ = thread.join();
            }
        }
    }
}

fn end_core<M: StateMachine>(core: &mut Core<M>, queued: VecDeque<Event<M>>) {
    core.engine.stop().end_waits();
    refuse_all(queued);
}

fn report(reason: &StopReason) {
    if reason.is_failure() {
        tracing::error!(%reason, "the replica stops");
    }
}
