//! What is committed reaches the state machine here: in order, in batches, off the path that answers heartbeats.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use little_raft_core::{
    Apply, Base, Codec, Entry as LogEntry, EntryKind, Membership, Position, SendSnapshot,
};

use super::outcome::{Ended, Outcome, Waiter};
use super::pieces::{self, Whole};
use super::reads::ReadTask;
use super::sessions::{SessionCommand, Sessions};
use super::waiters::{Ending, checksum};
use crate::error::{ProposeError, StopReason};
use crate::machine::{Entry, LibraryState, ResponseCodec, StateMachine};
use crate::session::Once;
use crate::storage::{LogReader, SnapshotFiles};

/// How much of a log that must be read back is applied at once.
const READ_BYTES_MAX: usize = 1 << 20;
/// After how many entries a durable machine is asked how far it has come.
const DURABLE_EVERY_COUNT: u64 = 1_000;

/// Owns the state machine: nobody else changes it.
pub struct Applier<M: StateMachine> {
    machine: M,
    config: ApplierConfig,
    reader: Arc<dyn LogReader>,
    snapshots: Arc<dyn SnapshotFiles>,
    applied: Position,
    /// The index of that, for others to see: before anybody is answered who waited for it.
    shown: Arc<AtomicU64>,
    membership: Membership,
    sessions: Sessions,
    is_durable: bool,
    /// Entries and bytes applied since the last snapshot was taken, or the durable machine was asked.
    since_count: u64,
    since_bytes: usize,
    saving: bool,
    /// Reused from batch to batch.
    endings: Vec<Ending<M::Response>>,
}

/// When snapshots are taken.
#[derive(Clone, Copy, Debug)]
pub struct ApplierConfig {
    /// After so many entries.
    pub snapshot_entries: u64,
    /// Or after so many bytes of entries.
    pub snapshot_bytes: usize,
}

/// What the applier is to do, in order.
pub enum ApplyWork<M: StateMachine> {
    /// Apply entries.
    Batch(Batch<M::Response>),
    /// Replace the state by the snapshot at this base.
    Install(Base),
    /// Serve reads of the state as it is now.
    Reads(Vec<Box<dyn ReadTask<M>>>),
    /// Make a view of the state for a follower.
    View(SendSnapshot),
    /// A snapshot was saved, or could not be: the next may be taken.
    Saved,
}

/// Who waits, in rising order of (index, term).
pub type Waiting<R> = VecDeque<(Position, Waiter<R>)>;

/// Entries to apply, and who waits for them.
pub struct Batch<R> {
    /// The entries.
    pub apply: Apply,
    /// Who waits.
    pub waiters: Waiting<R>,
    /// Return what nobody waits for, with this mark.
    pub keep: Option<u64>,
}

/// What a batch came to.
#[derive(Debug)]
pub struct Applied<R> {
    /// All up to here is applied.
    pub index: u64,
    /// The batch's mark.
    pub keep: Option<u64>,
    /// What nobody waited for, if there was a mark.
    pub kept: Vec<(Position, Ended<R>)>,
    /// What of a durable machine survives a crash, if it was asked.
    pub durable: Option<u64>,
}

impl<R> Applied<R> {
    /// Whether it says no more than the index, so that a later one may speak for it.
    pub fn is_index_only(&self) -> bool {
        self.keep.is_none() && self.durable.is_none()
    }
}

/// What came out of a piece of work.
pub struct Done<M: StateMachine> {
    /// For the engine.
    pub applied: Option<Applied<M::Response>>,
    /// To be done elsewhere: it takes long.
    pub job: Option<Box<Job<M::Snapshot>>>,
    /// A view was asked for that could not be made.
    pub view_failed: Option<SendSnapshot>,
}

/// Something that takes long, and needs only a view of the state.
pub enum Job<V> {
    /// Write a snapshot of the state at this base to storage.
    Save(Base, Whole<V>),
    /// Stream the state at this base to a follower.
    Serve(SendSnapshot, Base, Whole<V>),
}

impl<M: StateMachine> Applier<M> {
    /// The applier of a machine that is at `at`, with the sessions there.
    pub fn new(
        machine: M,
        at: Base,
        sessions: Sessions,
        config: ApplierConfig,
        reader: Arc<dyn LogReader>,
        snapshots: Arc<dyn SnapshotFiles>,
    ) -> Self {
        Self {
            is_durable: machine.durable().is_some(),
            machine,
            config,
            reader,
            snapshots,
            applied: at.position,
            shown: Arc::new(at.position.index.into()),
            membership: at.membership,
            sessions,
            since_count: 0,
            since_bytes: 0,
            saving: false,
            endings: Vec::new(),
        }
    }

    /// Does one piece of work, and answers who waited for it.
    ///
    /// # Errors
    /// An error is the end of the replica: the applier must not be used again.
    pub fn run(&mut self, work: ApplyWork<M>) -> Result<Done<M>, StopReason> {
        let mut done = Done {
            applied: None,
            job: None,
            view_failed: None,
        };
        match work {
            ApplyWork::Batch(batch) => {
                done.applied = Some(self.apply_batch(batch)?);
                done.job = self.snapshot_if_due().map(Box::new);
            }
            ApplyWork::Install(base) => done.applied = Some(self.install(&base)?),
            ApplyWork::Reads(tasks) => {
                let applied = self.applied.index;
                let tasks = tasks.into_iter();
                tasks.for_each(|task| task.run(&self.machine, applied));
            }
            ApplyWork::View(send) => match self.snapshot() {
                Ok(whole) => done.job = Some(Box::new(Job::Serve(send, self.base(), whole))),
                Err(error) => {
                    tracing::warn!(to = %send.to, %error, "no snapshot could be made for a follower");
                    done.view_failed = Some(send);
                }
            },
            ApplyWork::Saved => {
                self.saving = false;
                // The next may have been due for long: nothing else asks, if nothing more is applied.
                done.job = self.snapshot_if_due().map(Box::new);
            }
        }
        Ok(done)
    }

    /// The machine, for reads that need no order.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// How far it has come, kept up to date.
    pub fn shown(&self) -> Arc<AtomicU64> {
        self.shown.clone()
    }

    /// How far it has come.
    pub fn applied(&self) -> Position {
        self.applied
    }

    fn base(&self) -> Base {
        Base {
            position: self.applied,
            membership: self.membership.clone(),
        }
    }

    fn snapshot(&self) -> std::io::Result<Whole<M::Snapshot>> {
        Ok(Whole {
            sessions: self.sessions.to_bytes(),
            view: self.machine.snapshot()?,
        })
    }

    /// For a durable machine: what was applied takes effect.
    fn commit(&mut self) -> Result<(), StopReason> {
        if !self.is_durable {
            return Ok(());
        }
        let library = LibraryState::new(&self.base(), &self.sessions);
        let committed = self.machine.commit(self.applied, &library);
        committed.map_err(machine_failed)
    }

    fn apply_batch(
        &mut self,
        batch: Batch<M::Response>,
    ) -> Result<Applied<M::Response>, StopReason> {
        let mut waiters = batch.waiters;
        let mut kept = Vec::new();
        let keep = batch.keep.is_some();
        match batch.apply {
            Apply::Nothing => {}
            Apply::Entries(entries) => {
                self.apply_entries(&entries, &mut waiters, keep.then_some(&mut kept))?;
            }
            Apply::Stored { first, last } => {
                let mut next = first;
                while next <= last {
                    let entries = self.reader.entries(next, last, READ_BYTES_MAX)?;
                    self.apply_entries(&entries, &mut waiters, keep.then_some(&mut kept))?;
                    next += entries.len() as u64;
                }
            }
        }
        assert!(
            waiters.is_empty(),
            "waiters beyond the end of their batch, at {:?}",
            waiters.front()
        );
        Ok(Applied {
            index: self.applied.index,
            keep: batch.keep,
            kept,
            durable: self.durable_if_due(),
        })
    }

    /// Applies consecutive entries, commits them to the machine, and answers those who waited for them.
    fn apply_entries(
        &mut self,
        entries: &[LogEntry],
        waiters: &mut Waiting<M::Response>,
        mut kept: Option<&mut Vec<(Position, Ended<M::Response>)>>,
    ) -> Result<(), StopReason> {
        if entries.is_empty() {
            return Err(StopReason::Storage(
                "the log gave no entries where there must be some".into(),
            ));
        }
        let mut replaced = Vec::new();
        for entry in entries {
            let ended = self.apply_entry(entry)?;
            let waiter = waiter_of(entry.position, waiters, &mut replaced);
            match (waiter, ended) {
                (Some(waiter), Some(ended)) => self.endings.push((waiter, ended)),
                (None, Some(ended)) => {
                    if let Some(kept) = kept.as_mut() {
                        kept.push((entry.position, ended));
                    }
                }
                (None, None) => {}
                (Some(_), None) => panic!("a proposal at {} became no command", entry.position),
            }
        }
        self.commit()?;
        self.shown.store(self.applied.index, Ordering::Release);
        for (waiter, ended) in self.endings.drain(..) {
            waiter.send(ended);
        }
        for waiter in replaced {
            waiter.send(Err(ProposeError::NotApplied));
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: &LogEntry) -> Result<Option<Ended<M::Response>>, StopReason> {
        assert!(
            entry.position.index == self.applied.index + 1,
            "the entry after {} must be applied next, not {}",
            self.applied,
            entry.position
        );
        if checksum(&entry.payload) != entry.checksum {
            return Err(StopReason::Storage(
                format!("the command at {} is not what was proposed: its checksum differs; replace this replica's data from its peers", entry.position).into(),
            ));
        }
        self.applied = entry.position;
        self.since_count += 1;
        self.since_bytes += entry.bytes();
        Ok(match entry.kind {
            EntryKind::Noop => None,
            EntryKind::Membership => {
                self.membership = entry
                    .membership()
                    .ok_or_else(|| unreadable("membership", entry.position))?;
                None
            }
            EntryKind::Command => {
                let command = Entry::new(entry.position, entry.time, &entry.payload);
                Some(Ok(Outcome::Response(self.machine.apply(command))))
            }
            EntryKind::Commands => Some(Ok(self.apply_together(entry, &entry.payload)?)),
            EntryKind::Session => Some(self.apply_session(entry)?),
        })
    }

    fn apply_together(
        &mut self,
        entry: &LogEntry,
        payload: &Bytes,
    ) -> Result<Outcome<M::Response>, StopReason> {
        let commands = Vec::<Bytes>::from_bytes(payload.clone());
        let commands = commands.map_err(|_| unreadable("commands", entry.position))?;
        let commands = commands.iter();
        let all = commands.map(|command| {
            let command = Entry::new(entry.position, entry.time, command);
            self.machine.apply(command)
        });
        Ok(Outcome::Responses(all.collect()))
    }

    fn apply_session(&mut self, entry: &LogEntry) -> Result<Ended<M::Response>, StopReason> {
        let index = entry.position.index;
        let command = SessionCommand::from_bytes(entry.payload.clone());
        match command.map_err(|_| unreadable("session command", entry.position))? {
            SessionCommand::Register => {
                self.sessions.register(index);
                Ok(Ok(Outcome::Session(index)))
            }
            SessionCommand::Once(once, kind, payload) => {
                self.apply_once(entry, once, kind, &payload)
            }
        }
    }

    /// Thesis, section 6.3: the first attempt is applied, and a later one answered as the first was.
    fn apply_once(
        &mut self,
        entry: &LogEntry,
        once: Once,
        kind: EntryKind,
        payload: &Bytes,
    ) -> Result<Ended<M::Response>, StopReason> {
        let codec = M::response_codec().ok_or_else(|| {
            StopReason::Machine(
                "a session is used, but this state machine has no `response_codec`".into(),
            )
        })?;
        let checksum = checksum(payload);
        let before = match self.sessions.attempt(entry.position.index, once, checksum) {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(kept) = before {
            return Ok(Ok(decode(kind, kept, &codec).ok_or_else(|| {
                unreadable("response kept for the command", entry.position)
            })?));
        }
        let outcome = match kind {
            EntryKind::Commands => self.apply_together(entry, payload)?,
            _ => {
                let command = Entry::new(entry.position, entry.time, payload);
                Outcome::Response(self.machine.apply(command))
            }
        };
        self.sessions
            .answered(once, checksum, outcome.encode(&codec));
        Ok(Ok(outcome))
    }

    /// Rule 10: a snapshot is installed whole, and never rolls the state machine back.
    fn install(&mut self, base: &Base) -> Result<Applied<M::Response>, StopReason> {
        assert!(
            base.position.index >= self.applied.index,
            "a snapshot at {} would roll back a machine at {}",
            base.position,
            self.applied
        );
        let stream = self.snapshots.open(base.position)?;
        self.sessions = pieces::restore(&mut self.machine, stream).map_err(machine_failed)?;
        self.applied = base.position;
        self.shown.store(self.applied.index, Ordering::Release);
        self.membership = base.membership.clone();
        (self.since_count, self.since_bytes) = (0, 0);
        self.commit()?;
        Ok(Applied {
            index: self.applied.index,
            keep: None,
            kept: Vec::new(),
            durable: None,
        })
    }

    fn durable_if_due(&mut self) -> Option<u64> {
        if !self.is_durable || self.since_count < DURABLE_EVERY_COUNT {
            return None;
        }
        (self.since_count, self.since_bytes) = (0, 0);
        self.machine.durable().map(|(position, _)| position.index)
    }

    fn snapshot_if_due(&mut self) -> Option<Job<M::Snapshot>> {
        let due = self.since_count >= self.config.snapshot_entries
            || self.since_bytes >= self.config.snapshot_bytes;
        if self.is_durable || self.saving || !due {
            return None;
        }
        (self.since_count, self.since_bytes) = (0, 0);
        match self.snapshot() {
            Ok(whole) => {
                self.saving = true;
                Some(Job::Save(self.base(), whole))
            }
            Err(error) => {
                tracing::warn!(at = %self.applied, %error, "no snapshot could be taken; the log grows on");
                None
            }
        }
    }
}

/// The waiter for the entry at `position`. Those for other terms at or below it were replaced by what is committed.
fn waiter_of<R>(
    position: Position,
    waiters: &mut Waiting<R>,
    replaced: &mut Vec<Waiter<R>>,
) -> Option<Waiter<R>> {
    let mut found = None;
    while waiters
        .front()
        .is_some_and(|(at, _)| at.index <= position.index)
    {
        let (at, waiter) = waiters.pop_front().expect("looked at above");
        if at == position {
            found = Some(waiter);
        } else {
            replaced.push(waiter);
        }
    }
    found
}

fn decode<R>(kind: EntryKind, kept: Bytes, codec: &ResponseCodec<R>) -> Option<Outcome<R>> {
    match kind {
        EntryKind::Commands => Outcome::decode_all(kept, codec),
        _ => Outcome::decode_one(kept, codec),
    }
}

fn unreadable(what: &str, position: Position) -> StopReason {
    let text = format!(
        "the {what} at {position} can't be read: it was written by a newer version, or is damaged"
    );
    StopReason::Storage(text.as_str().into())
}

fn machine_failed(error: std::io::Error) -> StopReason {
    StopReason::Machine(error.to_string().into())
}
