//! The driver: threads, locks and clocks around the [`driver`](crate::driver)'s plain logic.
//!
//! Whoever brings an input runs the core, if nobody does: a caller that proposes, a thread that read a message, the
//! log writer after its flush, the timer. Their dangers, and where each is met:
//!
//! - No lock is held while anything is sent, woken or called: [`Combine`] locks for a push or a swap only.
//! - Input given inside a run only queues; the queue is looked at before the core is free again (`combine`).
//! - Effects are handed on in the core's order before the core is free again ([`Shell::serve`]).
//! - The clock is read when inputs are taken from the queue and never goes back; deadlines run after the input that was queued before them
//!   ([`Core::step_all`]).
//! - What is only queued, for a task to come back, is run by the alarm if none does ([`Shell::call_or_leave`]).
//! - A caller serves a bounded number of inputs, then a helper thread goes on ([`Shell::run`]).
//! - A panic stops the replica and never reaches a caller ([`Shell::run`]).

mod caller;
mod core;
mod lane;
mod stop;
#[cfg(test)]
mod tests;
mod threads;
mod transfers;
mod wanted;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use little_raft_core::{Input, Message, ReplicaId, Write};

pub(crate) use self::core::{Core, Immediate};
use self::lane::Lane;
use self::stop::Finish;
use self::transfers::Transfers;
use crate::cluster::{Cluster, Deliver, Inbox};
use crate::combine::{Combine, Pushed};
use crate::driver::{Applier, ApplyWork, Event, LogWriter, ReadTask, Store, StoreWork};
use crate::error::{MembersError, ProposeError, ReadError, StopReason};
use crate::machine::StateMachine;
use crate::status::Board;
use crate::storage::SnapshotFiles;
use crate::timer::{self, Alarm, Timed};
use crate::turns::{self, Owed};
use crate::worker::{Bell, Mailbox};

/// How many inputs a caller serves before a helper thread goes on. Many small ones come together (64 clients, and a
/// few completions of our own, should not wake the helper); so many take a fraction of a millisecond.
const CALLER_BUDGET: usize = 1024;
/// How many inputs from outside may wait for the core, and how many stale reads for the state machine. Beyond it,
/// proposals and reads are refused and messages lost.
const QUEUE_COUNT_MAX: usize = 1 << 16;

/// One replica's machinery, shared by all its threads and handles.
pub(crate) struct Shell<M: StateMachine> {
    core: Combine<Event<M>, Box<Core<M>>>,
    is_immediate: bool,
    lane: Combine<ApplyWork<M>, Lane<M>>,
    lane_bell: Bell,
    /// The last piece of work on the state machine took long: keep callers away from it.
    lane_is_slow: AtomicBool,
    helper: Mailbox<Box<Core<M>>>,
    log: Mailbox<Write>,
    store: Mailbox<StoreWork>,
    snapshots: Arc<dyn SnapshotFiles>,
    transfers: Transfers,
    piece_bytes: usize,
    alarm: Alarm,
    pub(crate) board: Arc<Board>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    helper_runs: AtomicBool,
    finish: Finish,
}

/// What a shell is made of.
pub(crate) struct Parts<M: StateMachine> {
    pub(crate) core: Core<M>,
    pub(crate) applier: Applier<M>,
    pub(crate) snapshots: Arc<dyn SnapshotFiles>,
    pub(crate) piece_bytes: usize,
    pub(crate) snapshot_rate: Option<u64>,
    pub(crate) board: Board,
}

impl<M: StateMachine> Shell<M> {
    pub(crate) fn new(parts: Parts<M>) -> Arc<Self> {
        Arc::new(Self {
            is_immediate: parts.core.is_immediate(),
            core: Combine::new(Box::new(parts.core), QUEUE_COUNT_MAX),
            lane: Combine::new(Lane::new(parts.applier), QUEUE_COUNT_MAX),
            lane_bell: Bell::new(),
            lane_is_slow: AtomicBool::new(false),
            helper: Mailbox::new(),
            log: Mailbox::new(),
            store: Mailbox::new(),
            snapshots: parts.snapshots,
            transfers: Transfers::new(parts.snapshot_rate),
            piece_bytes: parts.piece_bytes,
            alarm: Alarm::new(),
            board: Arc::new(parts.board),
            threads: Mutex::new(Vec::new()),
            helper_runs: AtomicBool::new(false),
            finish: Finish::default(),
        })
    }

    /// A call from a user's thread: what it commits may also be applied on it.
    pub(crate) fn call(self: &Arc<Self>, event: Event<M>) {
        caller::as_caller(|| self.input(event));
    }

    /// The same, but where tasks share a thread, it may only be queued: true says that somebody must come back.
    pub(crate) fn call_or_leave(self: &Arc<Self>, event: Event<M>) -> bool {
        let is_left = self.is_immediate && turns::is_shared() && !caller::is_running();
        if is_left {
            self.queue(event);
        } else {
            self.call(event);
        }
        is_left
    }

    fn queue(self: &Arc<Self>, event: Event<M>) {
        match self.core.leave_within(event) {
            Pushed::Queued | Pushed::Run(_) => {
                turns::owe(self);
                // Should nobody come back, the timer will.
                self.alarm.soon();
            }
            Pushed::Full(event) => refuse(event, ProposeError::Busy, ReadError::Busy),
            Pushed::Closed(event) => refuse(event, ProposeError::Stopped, ReadError::Stopped),
        }
    }

    /// An input from outside: refused if the queue is full.
    fn input(self: &Arc<Self>, event: Event<M>) {
        match self.core.push(event) {
            Pushed::Queued => {}
            Pushed::Run(core) => self.run(core, CALLER_BUDGET),
            Pushed::Full(event) => refuse(event, ProposeError::Busy, ReadError::Busy),
            Pushed::Closed(event) => refuse(event, ProposeError::Stopped, ReadError::Stopped),
        }
    }

    /// A completion of our own: has room always.
    fn complete(self: &Arc<Self>, event: Event<M>) {
        match self.core.push_own(event) {
            Pushed::Queued => {}
            Pushed::Run(core) => self.run(core, CALLER_BUDGET),
            Pushed::Full(event) | Pushed::Closed(event) => {
                refuse(event, ProposeError::Stopped, ReadError::Stopped);
            }
        }
    }

    /// Runs the core until nothing waits for it, or until `budget` inputs are served: then the helper goes on.
    fn run(self: &Arc<Self>, core: Box<Core<M>>, budget: usize) {
        let mut held = Some(core);
        let _running = caller::Running::enter();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve(&mut held, budget)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => self.fail_holding(reason, held),
            Err(panic) => self.fail_holding(panicked(&*panic), held),
        }
    }

    fn serve(
        self: &Arc<Self>,
        held: &mut Option<Box<Core<M>>>,
        budget: usize,
    ) -> Result<(), StopReason> {
        let mut served = 0;
        while let Some(core) = held.as_mut() {
            served += core.batch.len();
            core.step_all();
            core.hand_on(self)?;
            if core.is_settled() {
                self.alarm.set(core.deadline());
                core.show(&self.board);
            }
            let core = held.take().expect("held in this loop");
            *held = self.core.next(core);
            if served >= budget && held.as_ref().is_some_and(|core| core.more_waits) {
                self.hand_to_helper(held);
            }
        }
        Ok(())
    }

    fn hand_to_helper(self: &Arc<Self>, held: &mut Option<Box<Core<M>>>) {
        if self.is_helped() {
            // A closed mailbox gives it back: then this thread goes on to the end.
            *held = held.take().and_then(|core| self.helper.push(core));
        }
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let shell = self.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || body(shell))?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}

impl<M: StateMachine> Deliver for Arc<Shell<M>> {
    fn message(&self, message: Message) {
        self.input(Event::core(Input::Message(message)));
    }

    fn unreachable(&self, peer: ReplicaId) {
        self.input(Event::core(Input::Unreachable(peer)));
    }
}

impl<M: StateMachine> Owed for Shell<M> {
    fn run(self: Arc<Self>) {
        caller::as_caller(|| {
            if let Some(core) = self.core.grab() {
                Self::run(&self, core, CALLER_BUDGET);
            }
        });
    }
}

impl<M: StateMachine> Timed for Shell<M> {
    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn wake(self: Arc<Self>) {
        self.complete(Event::Wake);
    }
}

/// Ends whoever waits for an event that will not be looked at: it changed nothing.
fn refuse<M: StateMachine>(event: Event<M>, propose: ProposeError, read: ReadError) {
    match event {
        Event::Propose(proposal) => proposal.waiter.send(Err(propose)),
        Event::Read(task) | Event::ReadAtLeast(_, task) => task.fail(read),
        Event::ChangeMembers(change) => change.answer.send(Err(match propose {
            ProposeError::Busy => MembersError::Busy,
            _ => MembersError::Stopped,
        })),
        Event::Wake | Event::Applied(_) | Event::Saved(_) | Event::Core(_) => {}
    }
}

fn refuse_all<M: StateMachine>(events: VecDeque<Event<M>>) {
    for event in events {
        refuse(event, ProposeError::Stopped, ReadError::Stopped);
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> StopReason {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    StopReason::Panic(text.unwrap_or_else(|| "of no text".to_owned()).into())
}

impl<M: StateMachine> Shell<M> {
    /// Whether there is a helper thread; the first who needs one starts it.
    fn is_helped(self: &Arc<Self>) -> bool {
        if self.helper_runs.swap(true, Ordering::AcqRel) {
            return true;
        }
        let started = self.spawn("raft-helper", threads::help);
        self.helper_runs.store(started.is_ok(), Ordering::Release);
        started.is_ok()
    }

    /// Starts the threads of a storage that waits, and the applier's.
    pub(crate) fn start_threads(
        self: &Arc<Self>,
        storage: Option<(LogWriter, Store)>,
    ) -> io::Result<()> {
        if let Some((log, store)) = storage {
            self.spawn("raft-log", |shell| threads::write_log(&shell, log))?;
            self.spawn("raft-store", |shell| threads::keep(&shell, store))?;
        }
        self.spawn("raft-apply", |shell| threads::apply(&shell))
    }

    /// Joins the cluster and begins to run. What arrives before the core has its cluster only queues.
    pub(crate) fn join(
        self: &Arc<Self>,
        mut cluster: Box<dyn Cluster>,
        inbox: Inbox,
    ) -> io::Result<()> {
        let Some(mut core) = self.core.grab() else {
            return Err(io::Error::other("it was stopped before it started"));
        };
        let started = cluster.start(inbox);
        core.cluster = Some(cluster);
        if let Err(error) = started {
            self.core.put_down(core);
            return Err(error);
        }
        let timed: Arc<dyn Timed> = self.clone();
        timer::register(&timed)?;
        self.run(core, CALLER_BUDGET);
        Ok(())
    }

    /// A read that needs no confirmation.
    pub(crate) fn read_stale(self: &Arc<Self>, task: Box<dyn ReadTask<M>>) {
        caller::as_caller(|| {
            let (refused, error) = match self.lane.leave_within(ApplyWork::Reads(vec![task])) {
                Pushed::Full(work) => (work, ReadError::Busy),
                Pushed::Closed(work) => (work, ReadError::Stopped),
                Pushed::Queued | Pushed::Run(_) => return self.see_to_lane(),
            };
            if let ApplyWork::Reads(tasks) = refused {
                tasks.into_iter().for_each(|task| task.fail(error));
            }
        });
    }

    /// Somebody is told to apply: this thread, if it is a caller's, or the applier thread.
    fn see_to_lane(self: &Arc<Self>) {
        if self.lane_is_slow() || !caller::defer(self) {
            self.lane_bell.ring();
        }
    }
}
