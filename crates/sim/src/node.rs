//! One replica: the core joined to a simulated disk and a simulated applier, as a driver would join them.

use std::collections::{BTreeMap, VecDeque};

use little_raft_core::message::Body;
use little_raft_core::{
    Apply, Base, ChangeError, Config, Entry, Event, Fetch, Input, Member, Membership, Message, Now,
    PieceOutcome, Position, Raft, ReceivedPiece, Refusal, ReplicaId, Write,
};

use crate::coverage::Situation;
use crate::disk::Disk;
use crate::machine::{Machine, Snapshot, ticket};
use crate::random::Random;
use crate::receiving::{Receiving, Sender, Senders};
use crate::weather::{HOUR, MICRO, MILLI, Weather};

pub(crate) const CLUSTER: u64 = 77;
/// The ticket of changes of members: nobody waits for them.
pub(crate) const CHANGE: u64 = u64::MAX;

pub(crate) fn address(id: u64) -> String {
    format!("replica {id}")
}

pub(crate) fn founders(weather: &Weather) -> Membership {
    Membership::founders((1..=weather.replicas).map(|id| Member {
        witness: weather.witnesses.contains(&id),
        ..Member::voter(id, address(id))
    }))
}

/// Something that will happen to one boot of a replica.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Wake,
    Drain,
    Flushed,
    Applied,
    /// What was done is reported.
    Reported(Box<Input>),
    Fetched(Fetch),
    SnapshotTaken(Snapshot),
    Piece {
        to: ReplicaId,
        transfer: u64,
        offset: u64,
    },
    PieceStored(ReceivedPiece, Sender),
}

impl Due {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Wake => "wakes",
            Self::Drain => "drains",
            Self::Flushed => "has flushed",
            Self::Applied => "has applied",
            Self::Reported(_) => "reports",
            Self::Fetched(_) => "has fetched",
            Self::SnapshotTaken(_) => "has taken a snapshot",
            Self::Piece { .. } => "has a piece to send",
            Self::PieceStored(..) => "has stored a piece",
        }
    }
}

/// How a client's operation ended on the replica it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Applied(Position),
    NotApplied,
    Unknown,
    Read { index: u64, applied: u64 },
}

/// What a replica wants done, and what it did, for the checkers.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sends: Vec<Message>,
    pub(crate) later: Vec<(u64, Due)>,
    pub(crate) ended: Vec<(u64, Ending)>,
    /// The term before the first entry, and the entries.
    pub(crate) written: Option<(Option<u64>, Vec<Entry>)>,
    /// Where the log begins from now on.
    pub(crate) base: Option<Base>,
    pub(crate) applied: Vec<Entry>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) events: Vec<Event>,
    /// What is hard about it.
    pub(crate) reached: Vec<Situation>,
    /// All that the core wanted written was handed to the disk.
    pub(crate) is_drained: bool,
}

#[derive(Debug)]
enum Task {
    Entries(Vec<Entry>),
    Stored { first: u64, last: u64 },
    Install(Base),
}

/// What lives and dies with a boot.
#[derive(Debug)]
struct Running {
    raft: Raft,
    machine: Machine,
    /// The membership at what the machine has applied.
    membership: Membership,
    tasks: VecDeque<Task>,
    snapshot_taken: u64,
    snapshot_every: u64,
    sending: BTreeMap<(ReplicaId, u64), Snapshot>,
    receiving: Option<Receiving>,
    senders: Senders,
    /// Reads that wait for the machine: index, ticket.
    reads: Vec<(u64, u64)>,
    /// Proposals that wait for the machine, by index: term, ticket.
    proposals: BTreeMap<u64, Vec<(u64, u64)>>,
    /// The term of each entry applied in this boot.
    applied: BTreeMap<u64, u64>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) is_witness: bool,
    pub(crate) boot: u64,
    pub(crate) disk: Disk,
    running: Option<Running>,
    clock_offset: u64,
    /// By so many millionths its clock runs too fast.
    drift: i64,
    /// The wall clock shows so much more than the time.
    pub(crate) wall_offset: u64,
    pub(crate) paused_until: u64,
    /// Its disk has no room for more.
    pub(crate) is_full: bool,
    pub(crate) slow_disk_until: u64,
    pub(crate) stuck_disk_until: u64,
    pub(crate) slow_apply_until: u64,
}

impl Node {
    pub(crate) fn new(id: u64, weather: &Weather, drift: i64) -> Self {
        // Who is added later knows nobody.
        let is_founder = id <= weather.replicas;
        let founders = is_founder.then(|| founders(weather));
        let base = Base {
            membership: founders.unwrap_or_default(),
            ..Base::default()
        };
        Self {
            id: ReplicaId(id),
            is_witness: weather.witnesses.contains(&id),
            boot: 0,
            disk: Disk::new(base),
            running: None,
            clock_offset: 0,
            drift,
            wall_offset: HOUR,
            paused_until: 0,
            is_full: false,
            slow_disk_until: 0,
            stuck_disk_until: 0,
            slow_apply_until: 0,
        }
    }

    pub(crate) fn start(
        &mut self,
        now: u64,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        assert!(self.running.is_none(), "started twice");
        self.boot += 1;
        self.clock_offset = random.below(1 << 40);
        let config = weather.limit(Config {
            id: self.id,
            incarnation: 1_000 + self.id.0,
            boot: self.boot,
            witness: self.is_witness,
            seed: random.next(),
            ..config()
        });
        let restored = self
            .disk
            .durable
            .restored(random.between(0, weather.tail_max));
        let snapshot = self.disk.newest_snapshot(&self.disk.durable);
        let machine = snapshot.map_or(Machine::default(), |snapshot| {
            Machine::restore(snapshot).expect("a durable snapshot is whole")
        });
        let membership = snapshot.map_or(&restored.base, |snapshot| &snapshot.base);
        let membership = membership.membership.clone();
        let (index, base) = (machine.position.index, restored.base.position.index);
        let has_state = index >= base || self.is_witness;
        assert!(has_state, "no snapshot for what the log lacks");
        let mut raft = Raft::new(config, restored, self.time(now)).expect("sound timing");
        if index > base {
            effects.reached.push(Situation::SnapshotAheadOfLog);
            raft.step(self.time(now), Input::Applied { index });
        }
        self.running = Some(Running {
            raft,
            machine,
            membership,
            tasks: VecDeque::new(),
            snapshot_taken: index,
            snapshot_every: random.pick(&weather.snapshot_every),
            sending: BTreeMap::new(),
            receiving: None,
            senders: Senders::default(),
            reads: Vec::new(),
            proposals: BTreeMap::new(),
            applied: BTreeMap::new(),
        });
    }

    /// How many writes are lost.
    pub(crate) fn crash(&mut self, random: &mut Random) -> usize {
        self.running = None;
        self.stuck_disk_until = 0;
        self.paused_until = 0;
        self.disk.crash(random)
    }

    fn time(&self, now: u64) -> Now {
        let gained = now as i64 * self.drift / 1_000_000;
        Now {
            monotonic: self.clock_offset + now.saturating_add_signed(gained),
            wall: now + self.wall_offset,
        }
    }

    pub(crate) fn raft(&self) -> Option<&Raft> {
        self.running.as_ref().map(|running| &running.raft)
    }

    pub(crate) fn machine(&self) -> Option<&Machine> {
        self.running.as_ref().map(|running| &running.machine)
    }

    /// When it wants to be woken, in the simulation's time.
    pub(crate) fn deadline(&self) -> u64 {
        let deadline = self.raft().map_or(u64::MAX, Raft::deadline);
        let shown = deadline.saturating_sub(self.clock_offset);
        if shown > 1 << 60 {
            return u64::MAX;
        }
        let rate = 1_000_000 + self.drift;
        (u128::from(shown) * 1_000_000 / rate as u128) as u64 + 1
    }

    pub(crate) fn step(&mut self, now: u64, input: Input) {
        let time = self.time(now);
        if let Some(running) = &mut self.running {
            running.raft.step(time, input);
        }
    }

    pub(crate) fn drain(
        &mut self,
        now: u64,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        let time = self.time(now);
        let Some(running) = &mut self.running else {
            return;
        };
        let outputs = running.raft.outputs(time);
        effects.is_drained = true;
        effects.sends.extend(outputs.messages);
        effects.events.extend(outputs.events);
        let was_idle = running.tasks.is_empty();
        if outputs.install.is_some() && !was_idle {
            effects.reached.push(Situation::InstallInApply);
        }
        let is_told = |message: &Message| matches!(message.body, Body::Campaign);
        if effects.sends.iter().any(is_told) && !running.sending.is_empty() {
            effects.reached.push(Situation::GoAheadInSnapshot);
        }
        running.tasks.extend(outputs.install.map(Task::Install));
        match outputs.apply {
            Apply::Nothing => {}
            Apply::Entries(entries) => running.tasks.push_back(Task::Entries(entries.to_vec())),
            Apply::Stored { first, last } => {
                effects.reached.push(Situation::AppliedFromStorage);
                running.tasks.push_back(Task::Stored { first, last });
            }
        }
        for (ticket, outcome) in outputs.proposed {
            running.proposed(ticket, outcome, effects);
        }
        for (ticket, outcome) in outputs.reads {
            match outcome {
                Ok(index) => running.reads.push((index, ticket)),
                Err(_) => effects.ended.push((ticket, Ending::NotApplied)),
            }
        }
        running.serve_reads(effects);
        for fetch in outputs.fetch {
            let delay = random.between(10 * MICRO, 5 * MILLI);
            effects.later.push((delay, Due::Fetched(fetch)));
        }
        for wanted in outputs.send_snapshot {
            let snapshots = self.disk.continued_snapshots(&self.disk.logical);
            let does = |it: &&Snapshot| it.base.position.index >= wanted.index_min;
            let mut snapshots = snapshots.filter(does);
            let snapshot = match random.chance(300) {
                true => snapshots.next_back(),
                false => snapshots.next(),
            };
            let snapshot = snapshot.cloned();
            // Who lends may have none that is kept.
            let made = || running.snapshot(random, weather);
            let snapshot = snapshot.unwrap_or_else(made);
            let is_of_use = snapshot.base.position.index >= wanted.index_min;
            assert!(is_of_use, "a snapshot that is of no use is asked for");
            running
                .sending
                .insert((wanted.to, wanted.transfer), snapshot);
            effects.later.push((
                random.below(5 * MILLI),
                Due::Piece {
                    to: wanted.to,
                    transfer: wanted.transfer,
                    offset: 0,
                },
            ));
        }
        for wanted in outputs.send_piece {
            let (to, transfer, offset) = (wanted.to, wanted.transfer, wanted.offset);
            effects.later.push((
                random.below(MILLI),
                Due::Piece {
                    to,
                    transfer,
                    offset,
                },
            ));
        }
        for over in outputs.sent {
            running.sending.remove(&(over.to, over.transfer));
        }
        for piece in outputs.pieces {
            let is_leader = running.raft.leader() == Some(piece.from);
            let sender = match is_leader {
                true => Sender::Leader,
                false => Sender::Lender,
            };
            effects
                .later
                .push((random.below(5 * MILLI), Due::PieceStored(piece, sender)));
        }
        if was_idle && !running.tasks.is_empty() {
            let delay = self.apply_delay(now, random, weather);
            effects.later.push((delay, Due::Applied));
        }
        if let Some(write) = outputs.write {
            self.write(now, write, random, weather, effects);
        }
    }

    fn write(
        &mut self,
        now: u64,
        write: Write,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        if let Some(first) = write.entries.first() {
            let before = self
                .raft()
                .and_then(|raft| raft.term_at(first.position.index - 1));
            effects.written = Some((before, write.entries.to_vec()));
        }
        effects.base = write.base.as_deref().cloned();
        effects.reached.extend(self.disk.situations(&write));
        self.disk.submit(write);
        self.flush(now, random, weather, effects);
    }

    fn flush(&mut self, now: u64, random: &mut Random, weather: &Weather, effects: &mut Effects) {
        if !self.disk.begin_flush(weather.writes_per_flush) {
            return;
        }
        let slow = now < self.slow_disk_until;
        let most = if slow {
            weather.slow_flush_max
        } else {
            weather.flush_max
        };
        let delay = weather
            .some(random, 20 * MICRO, most)
            .max(self.stuck_disk_until.saturating_sub(now));
        effects.later.push((delay, Due::Flushed));
    }

    fn apply_delay(&self, now: u64, random: &mut Random, weather: &Weather) -> u64 {
        let slow = now < self.slow_apply_until;
        random.between(
            MICRO,
            if slow {
                weather.slow_apply_max
            } else {
                weather.apply_max
            },
        )
    }

    /// Does what is due; true if the core was given something.
    pub(crate) fn due(
        &mut self,
        now: u64,
        due: Due,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        if self.running.is_none() {
            return;
        }
        match due {
            Due::Wake => self.step(now, Input::Wake),
            Due::Drain => self.drain(now, random, weather, effects),
            Due::Flushed => {
                let write = self.disk.end_flush();
                self.flush(now, random, weather, effects);
                self.report(now, Input::Flushed { write }, random, weather, effects);
            }
            Due::Reported(input) => {
                let applied = self.raft().map_or(0, Raft::applied_index);
                if matches!(*input, Input::Applied { index } if index < applied) {
                    effects.reached.push(Situation::ReportOvertaken);
                }
                self.step(now, *input);
            }
            Due::Applied => self.apply(now, random, weather, effects),
            Due::Fetched(fetch) => {
                let entries = self.read(&fetch);
                effects.reached.push(match entries.is_empty() {
                    _ if self.is_witness => Situation::SupplyFetched,
                    true => Situation::HeadDroppedInFetch,
                    false => Situation::Fetched,
                });
                self.step(
                    now,
                    Input::Fetched {
                        to: fetch.to,
                        entries,
                    },
                );
            }
            Due::SnapshotTaken(snapshot) => self.snapshot_taken(now, snapshot, random),
            Due::Piece {
                to,
                transfer,
                offset,
            } => self.send_piece(now, to, transfer, offset, random, weather),
            Due::PieceStored(piece, sender) => {
                let (from, transfer) = (piece.from, piece.piece.transfer);
                let end = piece.piece.end();
                effects.reached.extend(self.resumes(&piece));
                let outcome = self.store(&piece, random);
                let is_whole = matches!(outcome, PieceOutcome::Complete(_));
                let running = self.running.as_mut().expect("checked by the caller");
                running.senders.add(sender);
                let ended = is_whole.then(|| running.senders.end()).flatten();
                effects.reached.extend(ended);
                if matches!(outcome, PieceOutcome::Stored(next) if next != end) {
                    effects.reached.push(Situation::PieceRepeated);
                }
                self.step(
                    now,
                    Input::PieceStored {
                        from,
                        transfer,
                        outcome,
                    },
                );
            }
        }
    }

    fn read(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let mut next = fetch.first;
        let stored = self.disk.durable.entries.range(fetch.first..=fetch.last);
        let wanted = stored.take_while(|(index, entry)| {
            let fits = **index == next && (bytes == 0 || bytes + entry.bytes() <= fetch.bytes_max);
            bytes += entry.bytes();
            next += 1;
            fits
        });
        wanted.map(|(_, entry)| entry.clone()).collect()
    }

    fn apply(&mut self, now: u64, random: &mut Random, weather: &Weather, effects: &mut Effects) {
        let running = self.running.as_mut().expect("checked by the caller");
        match running.tasks.pop_front().expect("a task was begun") {
            Task::Entries(entries) => running.apply(entries, effects),
            Task::Stored { first, last } => {
                let stored = self.disk.durable.entries.range(first..=last);
                let entries: Vec<Entry> = stored.map(|(_, entry)| entry.clone()).collect();
                if entries.len() as u64 == last + 1 - first {
                    running.apply(entries, effects);
                } else {
                    running.skip_to_snapshot();
                }
            }
            Task::Install(base) => match self.disk.snapshots.get(&base.position.index) {
                Some(snapshot) => running.install(&base, snapshot, effects),
                None => running.skip_to_snapshot(),
            },
        }
        running.serve_reads(effects);
        let index = running.machine.position.index;
        // At the same places where the rate is the same, if entries are applied one by one.
        if index / running.snapshot_every > running.snapshot_taken / running.snapshot_every {
            running.snapshot_taken = index;
            let snapshot = running.snapshot(random, weather);
            effects.later.push((
                random.between(MICRO, 200 * MILLI),
                Due::SnapshotTaken(snapshot),
            ));
        }
        if !running.tasks.is_empty() {
            let delay = self.apply_delay(now, random, weather);
            effects.later.push((delay, Due::Applied));
        }
        self.report(now, Input::Applied { index }, random, weather, effects);
    }

    /// Tells the core what was done, now or later.
    fn report(
        &mut self,
        now: u64,
        input: Input,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        match random.chance(weather.late_reports) {
            true => {
                let after = random.below(3 * MILLI);
                effects.later.push((after, Due::Reported(Box::new(input))));
            }
            false => self.step(now, input),
        }
    }

    fn snapshot_taken(&mut self, now: u64, snapshot: Snapshot, random: &mut Random) {
        let index = snapshot.base.position.index;
        self.disk.snapshots.insert(index, snapshot);
        let keep = random.pick(&[0, 0, 1, 5, 30]);
        self.step(
            now,
            Input::Compact {
                index: index.saturating_sub(keep),
            },
        );
    }

    fn send_piece(
        &mut self,
        now: u64,
        to: ReplicaId,
        transfer: u64,
        offset: u64,
        random: &mut Random,
        weather: &Weather,
    ) {
        let running = self.running.as_ref().expect("checked by the caller");
        let Some(snapshot) = running.sending.get(&(to, transfer)) else {
            return;
        };
        if random.chance(weather.loss / 10) {
            return self.step(now, Input::SendFailed { to, transfer });
        }
        let from = (offset as usize).min(snapshot.data.len());
        let end = (from + weather.piece_bytes as usize).min(snapshot.data.len());
        let piece = little_raft_core::message::Snapshot {
            transfer,
            base: snapshot.base.clone(),
            content: snapshot.content(),
            offset,
            data: snapshot.data.slice(from..end),
            done: end == snapshot.data.len(),
            elsewhere: None,
        };
        self.step(now, Input::SendPiece { to, piece });
    }

    fn resumes(&self, received: &ReceivedPiece) -> Option<Situation> {
        let receiving = self.running.as_ref()?.receiving.as_ref()?;
        receiving.resumed_by(received)
    }

    fn store(&mut self, received: &ReceivedPiece, random: &mut Random) -> PieceOutcome {
        let running = self.running.as_mut().expect("checked by the caller");
        let is_known = |receiving: &Receiving| receiving.is_of(&received.piece);
        let is_forgetful = random.chance(10) || !running.receiving.as_ref().is_some_and(is_known);
        if received.piece.offset == 0 && is_forgetful {
            running.receiving = Some(Receiving::begin(received));
        }
        let Some(receiving) = running.receiving.as_mut().filter(|it| is_known(it)) else {
            return PieceOutcome::Failed;
        };
        let Some(snapshot) = receiving.take(received) else {
            return PieceOutcome::Stored(receiving.stored());
        };
        running.receiving = None;
        if Machine::restore(&snapshot).is_none() || random.chance(20) {
            return PieceOutcome::Failed;
        }
        let base = snapshot.base.clone();
        self.disk.snapshots.insert(base.position.index, snapshot);
        PieceOutcome::Complete(base)
    }
}

impl Running {
    fn proposed(&mut self, ticket: u64, outcome: Result<Position, Refusal>, effects: &mut Effects) {
        effects.reached.extend(match &outcome {
            Err(Refusal::Transferring) => Some(Situation::RefusedTransferring),
            Err(Refusal::Busy) => Some(Situation::RefusedBusy),
            Err(Refusal::DiskFull) => Some(Situation::RefusedDiskFull),
            Err(Refusal::Change(ChangeError::UnderWay)) => Some(Situation::RefusedUnderWay),
            _ => None,
        });
        if ticket == CHANGE {
            return;
        }
        let ending = match outcome {
            Err(Refusal::Unknown) => Ending::Unknown,
            Err(_) => Ending::NotApplied,
            Ok(Position { index, term }) if index > self.machine.position.index => {
                self.proposals
                    .entry(index)
                    .or_default()
                    .push((term, ticket));
                return;
            }
            Ok(position) => match self.applied.get(&position.index) {
                None => Ending::Unknown,
                Some(&term) => ending(position, term),
            },
        };
        effects.ended.push((ticket, ending));
    }

    fn apply(&mut self, entries: Vec<Entry>, effects: &mut Effects) {
        for entry in entries {
            self.machine.apply(&entry);
            if let Some(membership) = entry.membership() {
                self.membership = membership;
            }
            effects.machines.push(self.machine);
            let Position { index, term } = entry.position;
            self.applied.insert(index, term);
            for (proposed, waiting) in self.proposals.remove(&index).unwrap_or_default() {
                assert!(
                    proposed != term || ticket(&entry) == Some(waiting),
                    "another's result"
                );
                let position = Position::new(index, proposed);
                effects.ended.push((waiting, ending(position, term)));
            }
            effects.applied.push(entry);
        }
    }

    /// A newer snapshot has replaced what was to be applied or installed: all up to it is in it.
    fn skip_to_snapshot(&mut self) {
        let newer = self
            .tasks
            .iter()
            .position(|task| matches!(task, Task::Install(_)));
        self.tasks
            .drain(..newer.expect("only a newer snapshot replaces what is stored"));
    }

    /// What the snapshot covers was never seen: its outcome is unknown.
    fn install(&mut self, base: &Base, snapshot: &Snapshot, effects: &mut Effects) {
        assert_eq!(&snapshot.base, base, "another snapshot than promised");
        assert!(
            base.position.index >= self.machine.position.index,
            "a snapshot rolls back"
        );
        self.machine = Machine::restore(snapshot).expect("it was checked when complete");
        self.membership = base.membership.clone();
        self.snapshot_taken = base.position.index;
        effects.machines.push(self.machine);
        effects.reached.push(Situation::Installed);
        let above = self.proposals.split_off(&(self.machine.position.index + 1));
        let covered = std::mem::replace(&mut self.proposals, above);
        let tickets = covered.into_values().flatten().map(|(_, ticket)| ticket);
        effects
            .ended
            .extend(tickets.map(|ticket| (ticket, Ending::Unknown)));
    }

    /// A snapshot of what the machine has applied.
    fn snapshot(&self, random: &mut Random, weather: &Weather) -> Snapshot {
        let base = Base {
            position: self.machine.position,
            membership: self.membership.clone(),
        };
        // As many bytes as others write of the same state, or not.
        let size = match random.chance(800) {
            true => weather.snapshot_bytes,
            false => random.between(0, weather.snapshot_bytes),
        };
        self.machine.snapshot(base, size)
    }

    fn serve_reads(&mut self, effects: &mut Effects) {
        let applied = self.machine.position.index;
        self.reads.retain(|&(index, ticket)| {
            if index <= applied {
                effects
                    .ended
                    .push((ticket, Ending::Read { index, applied }));
            }
            index > applied
        });
    }
}

fn ending(position: Position, applied: u64) -> Ending {
    if position.term == applied {
        Ending::Applied(position)
    } else {
        Ending::NotApplied
    }
}

fn config() -> Config {
    let identity = little_raft_core::Identity {
        cluster: CLUSTER,
        replica: ReplicaId(0),
        incarnation: 0,
        boot: 0,
        founders: Vec::new(),
    };
    Config::new(&identity, 0)
}
