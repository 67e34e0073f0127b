//! One replica: the production driver's engine, log, store and applier, each busy with one thing at a time, on a log in
//! files on a disk that lies. What threads do in production, the world lets happen here in an order of its own.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use little_raft::driver::{
    Applier, ApplierConfig, ApplyWork, Begun, Engine, EngineConfig, Event, Job, LogWriter, Opening,
    Store, StoreWork, Whole, save,
};
use little_raft::{
    Base, Founding, Message, ReplicaId, Snapshot, SnapshotFiles, StateMachine, WalStorage, Write,
};
use little_raft_core::{Codec, Config, Input, Now, SendPiece, SendSnapshot, message};
use little_raft_wal::Options;

use super::disk::{Failure, SimDisk};
use crate::random::Random;

/// Which of a replica's parts has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Core,
    Log,
    Store,
    Applier,
    Saver,
}

/// How a replica is set up.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) founding: Founding,
    pub(super) engine: EngineConfig,
    pub(super) applier: ApplierConfig,
    pub(super) segment_bytes: u64,
    pub(super) tail_bytes: usize,
    pub(super) piece_bytes: usize,
    /// The machine is a durable one, and stores itself once in so many commits; zero for one in memory.
    pub(super) stored_every: u64,
}

pub(super) struct Replica<M: StateMachine> {
    pub(super) engine: Engine<M>,
    log: LogWriter,
    store: Store,
    applier: Applier<M>,
    snapshots: Arc<dyn SnapshotFiles>,
    piece_bytes: usize,
    inbox: VecDeque<Event<M>>,
    writes: Vec<Write>,
    to_store: VecDeque<StoreWork>,
    to_apply: VecDeque<ApplyWork<M>>,
    saving: Option<(Base, Whole<M::Snapshot>)>,
    /// Snapshots on their way to followers: what they are, and which piece is wanted.
    transfers: BTreeMap<(ReplicaId, u64), Transfer>,
    is_full: bool,
}

#[derive(Default)]
struct Transfer {
    stream: Option<(Base, Bytes)>,
    wanted: Option<u64>,
}

/// What came of a piece of work.
#[derive(Default)]
pub(super) struct Came {
    pub(super) messages: Vec<Message>,
    pub(super) is_removed: bool,
}

impl<M: StateMachine> Replica<M> {
    /// Starts on what the disk holds.
    pub(super) fn start(
        disk: &SimDisk,
        setup: &Setup,
        machine: M,
        config: impl FnOnce(Config) -> Config,
        now: Now,
    ) -> Result<Self, String> {
        let options = Options {
            segment_bytes: setup.segment_bytes,
            tail_bytes: setup.tail_bytes,
        };
        let storage = WalStorage::on(Arc::new(disk.clone()), "replica", options).without_threads();
        let opening = Opening::open(Box::new(storage), &setup.founding, machine)
            .map_err(|error| error.to_string())?;
        let config = config(Config::new(opening.identity(), 0));
        let begun = opening.begin(config, setup.engine, setup.applier, now);
        let Begun {
            engine,
            log,
            store,
            applier,
            snapshots,
            ..
        } = begun.map_err(|error| error.to_string())?;
        Ok(Self {
            engine,
            log,
            store,
            applier,
            snapshots,
            piece_bytes: setup.piece_bytes,
            inbox: VecDeque::new(),
            writes: Vec::new(),
            to_store: VecDeque::new(),
            to_apply: VecDeque::new(),
            saving: None,
            transfers: BTreeMap::new(),
            is_full: false,
        })
    }

    pub(super) fn give(&mut self, event: Event<M>) {
        self.inbox.push_back(event);
    }

    /// Serves a read from the state as it is.
    pub(super) fn applied(&self) -> u64 {
        self.applier.applied().index
    }

    pub(super) fn has_work(&self, part: Part) -> bool {
        match part {
            Part::Core => !self.inbox.is_empty(),
            Part::Log => !self.writes.is_empty() || self.is_full,
            Part::Store => !self.to_store.is_empty(),
            Part::Applier => !self.to_apply.is_empty(),
            Part::Saver => self.saving.is_some(),
        }
    }

    /// Lets one part do what is its turn. An error is the end of this start.
    pub(super) fn run(
        &mut self,
        part: Part,
        now: Now,
        random: &mut Random,
    ) -> Result<Came, String> {
        match part {
            Part::Core => return Ok(self.run_core(now)),
            Part::Log => self.run_log(random)?,
            Part::Store => {
                if let Some(work) = self.to_store.pop_front() {
                    let input = self.store.run(work);
                    self.give(Event::Core(Box::new(input)));
                }
            }
            Part::Applier => self.run_applier()?,
            Part::Saver => self.run_saver(),
        }
        Ok(Came::default())
    }

    /// As the driver does: all that has come, then what is due, then all that follows.
    fn run_core(&mut self, now: Now) -> Came {
        for event in mem::take(&mut self.inbox) {
            self.engine.step(now, event);
        }
        if self.engine.deadline() <= now.monotonic {
            self.engine.step(now, Event::Wake);
        }
        let effects = self.engine.effects(now);
        let came = Came {
            messages: effects.messages.drain(..).collect(),
            is_removed: effects.is_removed,
        };
        self.writes.extend(effects.write.take());
        self.to_store.extend(effects.store.drain(..));
        for SendSnapshot { to, transfer, .. } in effects.begun.drain(..) {
            let begun = Transfer {
                stream: None,
                wanted: Some(0),
            };
            self.transfers.insert((to, transfer), begun);
        }
        let pieces: Vec<SendPiece> = effects.pieces.drain(..).collect();
        for SendSnapshot { to, transfer, .. } in effects.ended.drain(..) {
            self.transfers.remove(&(to, transfer));
        }
        self.to_apply.extend(effects.apply.drain(..));
        effects.end_waits();
        for SendPiece {
            to,
            transfer,
            offset,
        } in pieces
        {
            if let Some(going) = self.transfers.get_mut(&(to, transfer)) {
                going.wanted = Some(offset);
            }
        }
        self.send_pieces();
        came
    }

    fn send_pieces(&mut self) {
        for ((to, transfer), going) in &mut self.transfers {
            let (Some((base, stream)), Some(offset)) = (&going.stream, going.wanted) else {
                continue;
            };
            going.wanted = None;
            let from = (offset as usize).min(stream.len());
            let end = (from + self.piece_bytes).min(stream.len());
            let piece = message::Snapshot {
                transfer: *transfer,
                base: base.clone(),
                offset,
                data: stream.slice(from..end),
                done: end == stream.len(),
            };
            let input = Input::SendPiece { to: *to, piece };
            self.inbox.push_back(Event::Core(Box::new(input)));
        }
    }

    fn run_log(&mut self, random: &mut Random) -> Result<(), String> {
        let writes = mem::take(&mut self.writes);
        let outcome = self.log.run(writes).map_err(|error| error.to_string())?;
        self.is_full = outcome.retry;
        let inputs: Vec<Input> = outcome.inputs().collect();
        for input in inputs {
            self.give(Event::Core(Box::new(input)));
        }
        if random.chance(50) {
            self.log.idle().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn run_applier(&mut self) -> Result<(), String> {
        let Some(work) = self.to_apply.pop_front() else {
            return Ok(());
        };
        let done = self.applier.run(work).map_err(|error| error.to_string())?;
        if let Some(applied) = done.applied {
            self.give(Event::Applied(applied));
        }
        if let Some(SendSnapshot { to, transfer, .. }) = done.view_failed {
            self.give(Event::Core(Box::new(Input::SendFailed { to, transfer })));
        }
        match done.job.map(|job| *job) {
            None => {}
            Some(Job::Save(base, whole)) => self.saving = Some((base, whole)),
            Some(Job::Serve(send, base, mut whole)) => {
                let mut stream = Vec::new();
                let written = whole.write_to(&mut stream);
                written.map_err(|error| format!("a snapshot can't be written: {error}"))?;
                if let Some(going) = self.transfers.get_mut(&(send.to, send.transfer)) {
                    going.stream = Some((base, stream.into()));
                }
                self.send_pieces();
            }
        }
        Ok(())
    }

    fn run_saver(&mut self) {
        if let Some((base, mut whole)) = self.saving.take() {
            let saved = save(&*self.snapshots, &base, &mut whole);
            self.give(Event::Saved(saved.is_ok().then_some(base)));
        }
    }

    /// The log is vouched for as far as it goes.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        self.log.idle().map_err(|error| error.to_string())
    }

    /// The process ends in the middle of what one of its parts does: the disk takes a few operations more.
    pub(super) fn end_in_the_middle(mut self, disk: &SimDisk, random: &mut Random) {
        disk.fail_after(random.below(6), Failure::Power);
        let parts = [Part::Log, Part::Applier, Part::Store, Part::Saver];
        let busy: Vec<Part> = parts.into_iter().filter(|it| self.has_work(*it)).collect();
        if !busy.is_empty() {
            let nobody_hears_of_it = self.run(random.pick(&busy), Now::default(), random);
            drop(nobody_hears_of_it);
        }
        // Nor does a machine get to close its files.
        disk.fail_after(0, Failure::Power);
    }
}

/// Over the wire and back.
pub(super) fn carried(message: &Message) -> Message {
    Message::from_bytes(message.to_bytes()).expect("what was encoded can be decoded")
}
