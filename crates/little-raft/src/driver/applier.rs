//! What is committed reaches the state machine here: in order, in batches, off the path that answers heartbeats.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use little_raft_core::{Apply, Base, Entry as LogEntry, Position, SendSnapshot, planted};

use super::digests::Taken;
use super::outcome::{Ended, Waiter};
use super::pieces::Whole;
use super::reads::ReadTask;
use super::replicated::Replicated;
use super::source::Source;
use super::waiters::Ending;
use crate::error::{ProposeError, StopReason};
use crate::machine::StateMachine;
use crate::storage::{LogReader, SnapshotFiles};

/// How much of a log that must be read back is applied at once.
const READ_BYTES_MAX: usize = 1 << 20;
/// After how many entries a durable machine is asked how far it has come, unless snapshots are to be more frequent.
const DURABLE_EVERY_COUNT: u64 = 1_000;

/// Owns the state machine: nobody else changes it.
pub struct Applier<M: StateMachine> {
    state: Replicated<M>,
    config: ApplierConfig,
    reader: Arc<dyn LogReader>,
    snapshots: Arc<dyn SnapshotFiles>,
    /// What it has applied, for others to see: before anybody is answered who waited for it.
    shown: Arc<AtomicU64>,
    /// Entries and bytes applied since the last snapshot was taken, or the durable machine was asked.
    since_count: u64,
    since_bytes: usize,
    saving: bool,
    /// The newest snapshot that is kept; none of a durable machine, which has newer things to send.
    newest: Option<Base>,
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
    /// Find a snapshot for a follower, or make one; not the one at this position, which did not do.
    Source(SendSnapshot, Option<Position>),
    /// A snapshot was saved, or could not be: the next may be taken.
    Saved(Option<Base>),
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
    /// A digest of the state that the others are to be told. Boxed: it is rare.
    pub taken: Option<Box<Taken>>,
}

impl<R> Applied<R> {
    /// Whether it says no more than the index, so that a later one may speak for it.
    pub fn is_index_only(&self) -> bool {
        self.keep.is_none() && self.durable.is_none() && self.taken.is_none()
    }
}

/// What came out of a piece of work.
pub struct Done<M: StateMachine> {
    /// For the engine.
    pub applied: Option<Applied<M::Response>>,
    /// To be done elsewhere: it takes long.
    pub job: Option<Box<Job<M::Snapshot>>>,
    /// A snapshot was asked for that could not be made.
    pub source_failed: Option<SendSnapshot>,
}

/// Something that takes long, and needs only a view of the state.
pub enum Job<V> {
    /// Write a snapshot of the state at this base to storage.
    Save(Base, Whole<V>),
    /// Stream a snapshot to a follower.
    Serve(SendSnapshot, Source<V>),
}

impl<M: StateMachine> Applier<M> {
    /// The applier of this state. `newest` is the newest snapshot among `snapshots`.
    pub fn new(
        state: Replicated<M>,
        config: ApplierConfig,
        reader: Arc<dyn LogReader>,
        snapshots: Arc<dyn SnapshotFiles>,
        newest: Option<Base>,
    ) -> Self {
        Self {
            newest: newest.filter(|_| !state.is_durable()),
            shown: Arc::new(state.position().index.into()),
            state,
            config,
            reader,
            snapshots,
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
            source_failed: None,
        };
        match work {
            #[cfg(feature = "plants")]
            ApplyWork::Batch(batch) if planted!(P44) => {
                let before = self.state.snapshot();
                done.applied = Some(self.apply_batch(batch)?);
                if let (Ok(before), Some(Job::Save(base, _))) = (before, self.snapshot_if_due()) {
                    done.job = Some(Box::new(Job::Save(base, before)));
                }
            }
            ApplyWork::Batch(batch) => {
                done.applied = Some(self.apply_batch(batch)?);
                done.job = self.snapshot_if_due().map(Box::new);
            }
            ApplyWork::Install(base) => done.applied = Some(self.install(&base)?),
            ApplyWork::Reads(tasks) => {
                let applied = self.state.position().index;
                let tasks = tasks.into_iter();
                tasks.for_each(|task| task.run(&self.state.machine, applied));
            }
            ApplyWork::Source(send, except) => match self.source(send, except) {
                Ok(source) => done.job = Some(Box::new(Job::Serve(send, source))),
                Err(error) => {
                    tracing::warn!(to = %send.to, %error, "no snapshot could be made for a follower");
                    done.source_failed = Some(send);
                }
            },
            ApplyWork::Saved(base) => {
                self.saving = false;
                self.newest = base.or(self.newest.take());
                // The next may have been due for long: nothing else asks, if nothing more is applied.
                done.job = self.snapshot_if_due().map(Box::new);
            }
        }
        Ok(done)
    }

    /// The machine, for reads that need no order.
    pub fn machine(&self) -> &M {
        &self.state.machine
    }

    /// How far it has come, kept up to date.
    pub fn shown(&self) -> Arc<AtomicU64> {
        self.shown.clone()
    }

    /// The last index at which a majority's state was known to be this one, kept up to date; zero for none.
    pub fn alike(&self) -> Arc<AtomicU64> {
        self.state.alike()
    }

    /// How far it has come.
    pub fn applied(&self) -> Position {
        self.state.position()
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
            index: self.state.position().index,
            keep: batch.keep,
            kept,
            durable: self.durable_if_due(),
            taken: self.state.newly_taken().map(Box::new),
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
            let ended = self.state.apply(entry)?;
            self.since_count += 1;
            self.since_bytes += entry.bytes();
            let waiter = waiter_of(entry.position, waiters, &mut replaced);
            let Some(ended) = ended else {
                assert!(
                    waiter.is_none(),
                    "a proposal at {} became no command",
                    entry.position
                );
                continue;
            };
            if let Some(waiter) = waiter {
                self.endings.push((waiter, ended));
            } else if let Some(kept) = kept.as_mut() {
                kept.push((entry.position, ended));
            }
        }
        self.state.commit()?;
        self.show();
        for (waiter, ended) in self.endings.drain(..) {
            waiter.send(ended);
        }
        for waiter in replaced {
            waiter.send(Err(ProposeError::NotApplied));
        }
        Ok(())
    }

    fn install(&mut self, base: &Base) -> Result<Applied<M::Response>, StopReason> {
        let stream = self.snapshots.open(base.position)?;
        self.state.install(base, stream)?;
        if !self.state.is_durable() {
            self.newest = Some(base.clone());
        }
        self.show();
        (self.since_count, self.since_bytes) = (0, 0);
        Ok(Applied {
            index: base.position.index,
            keep: None,
            kept: Vec::new(),
            durable: None,
            taken: None,
        })
    }

    /// What is kept is sent as it is: others keep the same, and can go on with it. A durable machine keeps nothing.
    fn source(
        &self,
        send: SendSnapshot,
        except: Option<Position>,
    ) -> io::Result<Source<M::Snapshot>> {
        let does =
            |base: &&Base| base.position.index >= send.index_min && Some(base.position) != except;
        if let Some(base) = self.newest.as_ref().filter(does) {
            let opened = self.snapshots.open(base.position).map_err(io::Error::other);
            match opened.and_then(|stream| Source::kept(base.clone(), stream)) {
                Ok(source) => return Ok(source),
                Err(error) => {
                    tracing::warn!(at = %base.position, %error, "a snapshot can't be read")
                }
            }
        }
        let view = self.state.snapshot()?;
        Ok(Source::made(self.state.base(), send.transfer, view))
    }

    fn show(&self) {
        let index = self.state.position().index;
        self.shown.store(index, Ordering::Release);
    }

    fn durable_if_due(&mut self) -> Option<u64> {
        let every = DURABLE_EVERY_COUNT.min(self.config.snapshot_entries);
        if !self.state.is_durable() || self.since_count < every {
            return None;
        }
        (self.since_count, self.since_bytes) = (0, 0);
        self.state
            .machine
            .durable()
            .map(|(position, _)| position.index)
    }

    fn snapshot_if_due(&mut self) -> Option<Job<M::Snapshot>> {
        let due = self.since_count >= self.config.snapshot_entries
            || self.since_bytes >= self.config.snapshot_bytes;
        if self.state.is_durable() || self.saving || !due {
            return None;
        }
        (self.since_count, self.since_bytes) = (0, 0);
        match self.state.snapshot() {
            Ok(whole) => {
                self.saving = true;
                Some(Job::Save(self.state.base(), whole))
            }
            Err(error) => {
                tracing::warn!(at = %self.state.position(), %error, "no snapshot could be taken; the log grows on");
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
        if at == position || planted!(P55) && at.index == position.index {
            found = Some(waiter);
        } else {
            replaced.push(waiter);
        }
    }
    found
}
