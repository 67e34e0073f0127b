//! One replica: the production driver's engine, log, store and applier, each busy with one thing at a time, on a log in
//! files on a disk that lies. What threads do in production, the world lets happen here in an order of its own.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use little_raft::driver::{
    Applier, ApplierConfig, ApplyWork, Begun, Engine, EngineConfig, Event, Job, Label, LogWriter,
    Opening, Store, StoreWork, Whole, save,
};
use little_raft::{
    Base, Founding, Message, ReplicaId, SnapshotFiles, StateMachine, WalStorage, Write,
};
use little_raft_core::{
    Codec, Config, Input, Now, PieceOutcome, SendPiece, SendSnapshot, Sent, TransferEnd,
};
use little_raft_wal::Options;

use super::disk::{Failure, SimDisk};
use crate::coverage::Situation;
use crate::random::Random;
use crate::receiving::{Sender, Senders};

/// Which of a replica's parts has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Core,
    Log,
    Store,
    Applier,
    Saver,
    Sender,
}

/// How a replica is set up.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) founding: Founding,
    pub(super) is_witness: bool,
    pub(super) engine: EngineConfig,
    pub(super) applier: ApplierConfig,
    pub(super) segment_bytes: u64,
    pub(super) tail_bytes: usize,
    pub(super) piece_bytes: usize,
    /// The machine is a durable one, and stores itself once in so many commits; zero for one in memory.
    pub(super) stored_every: u64,
    /// From whom it would rather have a snapshot than from the leader.
    pub(super) nearest: Vec<ReplicaId>,
    /// How long a piece of a snapshot waits for its turn at most: snapshots are sent at a rate.
    pub(super) piece_pause_max: u64,
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
    /// Snapshots on their way to followers.
    transfers: BTreeMap<ReplicaId, Transfer>,
    /// Who sent the newest piece of a snapshot.
    received_from: Option<ReplicaId>,
    senders: Senders,
    is_full: bool,
}

#[derive(Default)]
struct Transfer {
    /// The transfer that goes on, or the last one.
    number: u64,
    /// What is sent; kept for the next transfer, if this one breaks off.
    source: Option<(Label, Bytes)>,
    /// Which piece is wanted.
    wanted: Option<u64>,
    /// Whether the follower was asked how far it is.
    is_asked: bool,
    /// It could not be sent, or not be used.
    is_useless: bool,
    /// The follower has it.
    is_done: bool,
}

impl Transfer {
    fn is_due(&self) -> bool {
        self.source.is_some() && self.wanted.is_some()
    }
}

/// What came of a piece of work.
#[derive(Default)]
pub(super) struct Came {
    pub(super) messages: Vec<Message>,
    pub(super) is_removed: bool,
    /// Worth counting, and a good moment for trouble.
    pub(super) reached: Option<&'static str>,
    /// Who begins to send it a snapshot.
    pub(super) sender: Option<ReplicaId>,
    /// Worth counting.
    pub(super) noted: Option<&'static str>,
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
            received_from: None,
            senders: Senders::default(),
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
            Part::Sender => self.transfers.values().any(Transfer::is_due),
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
                    return Ok(self.run_store(work));
                }
            }
            Part::Applier => self.run_applier()?,
            Part::Saver => self.run_saver(),
            Part::Sender => self.send_pieces(),
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
            ..Came::default()
        };
        self.writes.extend(effects.write.take());
        self.to_store.extend(effects.store.drain(..));
        let begun: Vec<SendSnapshot> = effects.begun.drain(..).collect();
        let pieces: Vec<SendPiece> = effects.pieces.drain(..).collect();
        let ended: Vec<Sent> = effects.ended.drain(..).collect();
        self.to_apply.extend(effects.apply.drain(..));
        effects.end_waits();
        begun.into_iter().for_each(|send| self.begin_transfer(send));
        for piece in pieces {
            if let Some(going) = self.transfer(piece.to, piece.transfer) {
                going.wanted = Some(piece.offset);
            }
        }
        for sent in ended {
            if let Some(going) = self.transfer(sent.to, sent.transfer) {
                going.wanted = None;
                going.is_useless |= sent.end == TransferEnd::Refused;
                going.is_done |= sent.end == TransferEnd::Installed;
            }
        }
        came
    }

    fn transfer(&mut self, to: ReplicaId, number: u64) -> Option<&mut Transfer> {
        let going = self.transfers.get_mut(&to);
        going.filter(|going| going.number == number)
    }

    /// As the driver does: what broke off goes on, and what did not do is not tried again.
    fn begin_transfer(&mut self, send: SendSnapshot) {
        let going = self.transfers.entry(send.to).or_default();
        (going.number, going.wanted, going.is_asked) = (send.transfer, Some(0), false);
        let position = going
            .source
            .as_ref()
            .map(|(label, _)| label.base().position);
        let reaches = position.is_some_and(|at| at.index >= send.index_min);
        if !reaches || going.is_useless || going.is_done {
            let except = position.filter(|_| going.is_useless);
            (going.source, going.is_useless, going.is_done) = (None, false, false);
            self.to_apply.push_back(ApplyWork::Source(send, except));
        }
    }

    fn send_pieces(&mut self) {
        for (to, going) in &mut self.transfers {
            let Some((label, stream)) = &going.source else {
                continue;
            };
            let Some(offset) = going.wanted.take() else {
                continue;
            };
            let begin = (offset as usize).min(stream.len());
            let end = (begin + self.piece_bytes).min(stream.len());
            let (data, done) = match mem::replace(&mut going.is_asked, true) {
                true => (stream.slice(begin..end), end == stream.len()),
                false => (Bytes::new(), false),
            };
            let piece = label.piece(going.number, offset, data, done);
            let input = Input::SendPiece { to: *to, piece };
            self.inbox.push_back(Event::Core(Box::new(input)));
        }
    }

    fn run_store(&mut self, work: StoreWork) -> Came {
        let StoreWork::Piece(received) = &work else {
            let input = self.store.run(work);
            self.give(Event::Core(Box::new(input)));
            return Came::default();
        };
        let (from, piece) = (received.from, &received.piece);
        let is_question = piece.data.is_empty() && !piece.done;
        let is_leader = self.engine.raft().leader() == Some(from);
        self.senders.add(match is_leader {
            true => Sender::Leader,
            false => Sender::Lender,
        });
        let input = self.store.run(work);
        let mut came = Came::default();
        if let Input::PieceStored { outcome, .. } = &input {
            match outcome {
                PieceOutcome::Failed => {}
                PieceOutcome::Complete(_) => came.reached = self.senders.end().and_then(ended),
                PieceOutcome::Stored(_) if !is_question => {}
                PieceOutcome::Stored(length) => {
                    came.reached = Some(begun(*length, self.received_from, from));
                    came.sender = Some(from);
                }
            }
        }
        self.received_from = Some(from);
        self.give(Event::Core(Box::new(input)));
        came
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
        if let Some(SendSnapshot { to, transfer, .. }) = done.source_failed {
            self.give(Event::Core(Box::new(Input::SendFailed { to, transfer })));
        }
        match done.job.map(|job| *job) {
            None => {}
            Some(Job::Save(base, whole)) => self.saving = Some((base, whole)),
            Some(Job::Serve(send, mut source)) => {
                let mut stream = Vec::new();
                let SendSnapshot { to, transfer, .. } = send;
                let is_failed = source.write_from(0, &mut stream).is_err();
                let label = source.label().clone();
                if let Some(going) = self.transfer(to, transfer) {
                    going.source = Some((label, stream.into()));
                    going.is_useless = is_failed;
                }
                if is_failed {
                    self.give(Event::Core(Box::new(Input::SendFailed { to, transfer })));
                }
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

/// What a follower's answer to the question how far it is says about what it was sent before.
fn begun(length: u64, before: Option<ReplicaId>, from: ReplicaId) -> &'static str {
    match before {
        _ if length == 0 => "a snapshot was begun",
        None => "a snapshot was gone on with after a restart",
        Some(before) if before == from => "a snapshot was gone on with",
        Some(_) => "a snapshot was gone on with from another sender",
    }
}

/// Where a whole snapshot came from, if not from the leader alone.
fn ended(situation: Situation) -> Option<&'static str> {
    match situation {
        Situation::Lent => Some("a snapshot came from a follower"),
        Situation::LenderLost => Some("a lender was lost, and the leader's snapshot taken"),
        _ => None,
    }
}

/// Over the wire and back.
pub(super) fn carried(message: &Message) -> Message {
    Message::from_bytes(message.to_bytes()).expect("what was encoded can be decoded")
}
