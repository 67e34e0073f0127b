//! What one thread at a time runs: the engine and all that its effects go to in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use little_raft_core::{Now, Write};

use super::Shell;
use super::transfers::Begun;
use crate::cluster::Cluster;
use crate::combine::{TakeIn, fill};
use crate::driver::{ApplyWork, Effects, Engine, Event, LogOutcome, LogWriter, Store, StoreWork};
use crate::error::{StopReason, StorageError};
use crate::machine::StateMachine;
use crate::status::{Board, Told};
use crate::timer;

/// The engine and its surroundings.
pub(crate) struct Core<M: StateMachine> {
    pub(crate) engine: Engine<M>,
    /// There once it has started.
    pub(super) cluster: Option<Box<dyn Cluster>>,
    /// Storage that never waits is used right here; any other has threads.
    immediate: Option<Immediate>,
    /// Taken from the queue, or made by ourselves, and not stepped yet.
    pub(super) batch: VecDeque<Event<M>>,
    /// More was queued than was taken.
    pub(super) more_waits: bool,
    /// Something was made durable since the engine was asked last what is to be done.
    is_unsettled: bool,
    told: Told,
    /// The version of the membership that the cluster knows.
    introduced: u64,
    now: Now,
    /// Something was taken in since the clock was read.
    now_is_old: bool,
    wall_read: u64,
    wall_read_at: u64,
    /// For how many slices due deadlines have waited for queued input.
    postponed: usize,
}

/// Storage in memory.
pub(crate) struct Immediate {
    log: LogWriter,
    store: Store,
    retry_at: u64,
}

impl Immediate {
    pub(crate) fn new(log: LogWriter, store: Store) -> Self {
        Self {
            log,
            store,
            retry_at: u64::MAX,
        }
    }
}

/// How many inputs are taken from the queue at once: as many as a caller serves, so that what came together is run
/// together.
pub(super) const SLICE: usize = super::CALLER_BUDGET;
/// Due deadlines wait for queued input, but not for ever.
const POSTPONED_MAX: usize = 16;
/// How old the wall clock's last reading may be, in nanoseconds.
const WALL_EVERY: u64 = 1_000_000;
/// How long to wait before a full storage is tried again.
pub(super) const RETRY_FULL: Duration = Duration::from_millis(200);

impl<M: StateMachine> TakeIn<Event<M>> for Box<Core<M>> {
    fn take_in(&mut self, queue: &mut VecDeque<Event<M>>) -> bool {
        self.now_is_old |= !queue.is_empty();
        fill(&mut self.batch, queue, SLICE);
        self.more_waits = !queue.is_empty();
        !self.is_settled()
    }

    fn is_awaiting(&self) -> bool {
        self.engine.awaits_applied()
    }
}

impl<M: StateMachine> Core<M> {
    pub(crate) fn new(engine: Engine<M>, immediate: Option<Immediate>) -> Self {
        Self {
            told: Told::of(&engine.progress(), engine.membership()),
            engine,
            cluster: None,
            immediate,
            batch: VecDeque::new(),
            more_waits: false,
            is_unsettled: false,
            introduced: 0,
            now: Now::default(),
            now_is_old: true,
            wall_read: 0,
            wall_read_at: 0,
            postponed: 0,
        }
    }

    /// Whether what it writes is durable at once.
    pub(super) fn is_immediate(&self) -> bool {
        self.immediate.is_some()
    }

    /// Whether nothing is left to do of what was taken in.
    pub(super) fn is_settled(&self) -> bool {
        self.batch.is_empty() && !self.is_unsettled
    }

    /// Steps what is in the batch, as of now: what arrives while it runs is not in it. Deadlines come after it, and
    /// after what was queued with it: a process that was paused must not elect itself out of its backlog.
    pub(super) fn step_all(&mut self) {
        if std::mem::take(&mut self.now_is_old) {
            self.read_clock();
        }
        while let Some(event) = self.batch.pop_front() {
            // What is due is decided below, after the input before it.
            if !matches!(event, Event::Wake) {
                self.engine.step(self.now, event);
            }
        }
        if self.engine.deadline() > self.now.monotonic {
            self.postponed = 0;
        } else if self.more_waits && self.postponed < POSTPONED_MAX {
            self.postponed += 1;
        } else {
            self.postponed = 0;
            self.engine.step(self.now, Event::Wake);
        }
    }

    /// Does what the engine asks for, or hands it to whom it concerns. What is done at once goes back into the batch.
    pub(super) fn hand_on(&mut self, shell: &Arc<Shell<M>>) -> Result<(), StopReason> {
        self.remember()?;
        // Who is new is known before anything is sent there.
        self.introduce();
        let effects = self.engine.effects_so_far();
        if let Some(cluster) = &mut self.cluster {
            for message in effects.messages.drain(..) {
                cluster.send(message.to, message);
            }
        }
        effects.messages.clear();
        leave_to_log(shell, effects);
        if effects.is_about_stragglers() {
            match &mut self.immediate {
                Some(own) => own.keep(effects, &mut self.batch),
                None => leave_to_store(shell, effects),
            }
            serve_transfers(shell, effects);
        }
        apply(shell, effects);
        if effects.is_about_waits() {
            effects.end_waits();
        }
        match (effects.is_misfit, effects.is_removed) {
            (true, _) => Err(StopReason::Misfit),
            (_, true) => Err(StopReason::Removed),
            _ => Ok(()),
        }
    }

    /// Makes durable what is durable at once. What that lets us do is found out right here if nobody is spoken to
    /// meanwhile; else together with the answers.
    fn remember(&mut self) -> Result<(), StorageError> {
        loop {
            let effects = self.engine.effects(self.now);
            let speaks = !effects.messages.is_empty();
            let Some(own) = &mut self.immediate else {
                return Ok(());
            };
            let outcome = own.remember(self.now, effects.write.take())?;
            self.is_unsettled = speaks && outcome.is_some();
            if let Some(outcome) = &outcome {
                self.engine.written(self.now, outcome);
            }
            if speaks || outcome.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells the cluster who belongs, if that has changed.
    pub(super) fn introduce(&mut self) {
        let membership = self.engine.membership();
        if self.introduced != membership.version {
            self.introduced = membership.version;
            if let Some(cluster) = &mut self.cluster {
                cluster.members_changed(&membership.members);
            }
        }
    }

    /// When to be woken.
    pub(super) fn deadline(&self) -> u64 {
        let retry = self.immediate.as_ref().map_or(u64::MAX, |own| own.retry_at);
        self.engine.deadline().min(retry)
    }

    pub(super) fn show(&mut self, board: &Board) {
        let (progress, membership) = (self.engine.progress(), self.engine.membership());
        board.update(&mut self.told, progress, membership);
    }

    fn read_clock(&mut self) {
        self.now.monotonic = self.now.monotonic.max(timer::monotonic());
        // The wall clock is a stamp only: it is looked at now and then, and goes on by the other clock between.
        let since = self.now.monotonic - self.wall_read_at;
        if since > WALL_EVERY {
            self.wall_read_at = self.now.monotonic;
            self.wall_read = timer::wall();
        }
        self.now.wall = self.wall_read + (self.now.monotonic - self.wall_read_at);
    }
}

impl Immediate {
    /// Makes durable, and says what came of it; nothing, if there is nothing to do.
    fn remember(
        &mut self,
        now: Now,
        write: Option<Write>,
    ) -> Result<Option<LogOutcome>, StorageError> {
        if write.is_none() && self.retry_at > now.monotonic {
            return Ok(None);
        }
        let outcome = self.log.run(write)?;
        self.retry_at = match outcome.retry {
            true => now.monotonic + RETRY_FULL.as_nanos() as u64,
            false => u64::MAX,
        };
        Ok(Some(outcome))
    }

    /// Reads entries and stores pieces of snapshots, and puts into `batch` what came of it.
    fn keep<M: StateMachine>(&mut self, effects: &mut Effects<M>, batch: &mut VecDeque<Event<M>>) {
        let stored = effects.store.drain(..);
        let stored = stored.map(|work: StoreWork| Event::core(self.store.run(work)));
        batch.extend(stored);
    }
}

fn leave_to_log<M: StateMachine>(shell: &Shell<M>, effects: &mut Effects<M>) {
    if let Some(write) = effects.write.take() {
        shell.log.push(write);
    }
}

fn leave_to_store<M: StateMachine>(shell: &Shell<M>, effects: &mut Effects<M>) {
    for work in effects.store.drain(..) {
        shell.store.push(work);
    }
}

fn serve_transfers<M: StateMachine>(shell: &Shell<M>, effects: &mut Effects<M>) {
    for send in effects.begun.drain(..) {
        if let Begun::Anew(except) = shell.transfers.begin(send) {
            effects.apply.push(ApplyWork::Source(send, except));
        }
    }
    for wanted in effects.pieces.drain(..) {
        shell.transfers.want(wanted);
    }
    for transfer in effects.ended.drain(..) {
        shell.transfers.end(transfer);
    }
}

fn apply<M: StateMachine>(shell: &Arc<Shell<M>>, effects: &mut Effects<M>) {
    if effects.apply.is_empty() {
        return;
    }
    for work in effects.apply.drain(..) {
        shell.lane.leave(work);
    }
    shell.see_to_lane();
}
