//! Whole replicas, a network between them, clients, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::time::Duration;

use little_raft::driver::{ApplierConfig, EngineConfig, Event};
use little_raft::{
    Founding, Member, MembersError, Membership, Message, Pending, ReplicaId, State, StateMachine,
    Timing, cluster_id,
};
use little_raft_core::{Config, Input, Now};

use super::clients::Clients;
use super::disk::SimDisk;
use super::either::Either;
use super::ledger::SharedLedger;
use super::patient::Patient;
use super::probe::Probe;
use super::promised::Promised;
use super::replica::{Part, Setup, carried};
use super::trouble::{Trouble, Troubles};
use crate::checks::Violation;
use crate::random::Random;
use crate::weather::{MICRO, MILLI, SECOND};

/// How long the group has to recover once all is mended.
const MENDED_NANOS: u64 = 60 * SECOND;
const SAY_LAST: usize = 60;
const WITNESSES_SEED: u64 = 0x7769_746e_6573_7365;

/// What happens next to whom.
pub(super) enum Due {
    Run(u64, u64, Part),
    Wake(u64, u64),
    Arrive(Box<Message>),
    Ask,
    Trouble,
    /// Somebody receives a snapshot: a good moment for trouble.
    Interrupt(u64),
    Start(u64),
    Mend(u64),
    Operate,
}

/// A place for a replica: its disk outlives it.
pub(super) struct Seat<M: StateMachine<Response: Debug>> {
    pub(super) disk: SimDisk,
    pub(super) setup: Setup,
    pub(super) running: Option<Either<M>>,
    /// Which start this is: what was due for another one is not for this.
    pub(super) start: u64,
    pub(super) busy: BTreeSet<Part>,
    pub(super) wake_at: u64,
    pub(super) clock_offset: u64,
    pub(super) is_slow: bool,
    pub(super) is_gone: bool,
    pub(super) promised: Promised,
    /// The newest term and index that were durable on a full replica.
    pub(super) held: (u64, u64),
}

pub(super) struct World<'a, M: StateMachine<Response: Debug>> {
    pub(super) now: u64,
    pub(super) count: u64,
    pub(super) due: BTreeMap<(u64, u64), Due>,
    pub(super) random: Random,
    pub(super) make: &'a dyn Fn(&SimDisk) -> io::Result<M>,
    pub(super) workload: &'a mut dyn FnMut(&mut Random) -> Vec<u8>,
    pub(super) seats: BTreeMap<u64, Seat<M>>,
    pub(super) founders: Vec<Member>,
    /// Whom who is seated from now on belongs to.
    pub(super) cluster: u64,
    pub(super) troubles: Troubles,
    /// From, to: nothing passes.
    pub(super) cut: BTreeSet<(u64, u64)>,
    pub(super) ledger: SharedLedger,
    pub(super) clients: Clients<M>,
    pub(super) changes: Vec<Pending<Membership, MembersError>>,
    pub(super) last_change: u64,
    pub(super) patient: Option<Patient>,
    pub(super) leaders: BTreeMap<u64, u64>,
    /// Draws who is a witness, where there are any.
    pub(super) witnesses: Option<Random>,
    /// Of all machines: see [`Setup`].
    stored_every: u64,
    /// After how many entries all take snapshots; else each has a number of its own.
    snapshot_entries: Option<u64>,
    pub(super) is_rough: bool,
    pub(super) story: Vec<String>,
    pub(super) reached: BTreeMap<&'static str, u64>,
}

impl<'a, M: StateMachine<Response: Debug>> World<'a, M> {
    pub(super) fn new(
        seed: u64,
        troubles: Troubles,
        make: &'a dyn Fn(&SimDisk) -> io::Result<M>,
        workload: &'a mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> Self {
        let mut random = Random::new(seed);
        let replicas = random.pick(&[1, 3, 3, 3, 5]);
        let stored_every = random.pick(&[0, 0, 0, 1, 10]);
        let snapshot_entries = random.chance(500).then(|| random.between(10, 200));
        let ledger = SharedLedger::default();
        // Of its own, so that runs without witnesses are what they were without this.
        let mut other = Random::new(seed ^ WITNESSES_SEED);
        let mut witnesses = other.chance(250).then_some(other);
        let founders = founders(replicas, witnesses.as_mut());
        let mut world = Self {
            cluster: cluster_id("simulated", &founders),
            now: 0,
            count: 0,
            due: BTreeMap::new(),
            random,
            make,
            workload,
            seats: BTreeMap::new(),
            founders,
            troubles,
            cut: BTreeSet::new(),
            clients: Clients::new(ledger.clone()),
            ledger,
            changes: Vec::new(),
            last_change: 0,
            patient: None,
            leaders: BTreeMap::new(),
            witnesses,
            stored_every,
            snapshot_entries,
            is_rough: true,
            story: Vec::new(),
            reached: BTreeMap::new(),
        };
        for id in 1..=replicas {
            let founders = world.founders.clone();
            let is_witness = founders[id as usize - 1].witness;
            world.seat(id, founders, is_witness);
        }
        world
    }

    /// Goes through trouble, then through its end. Says what was violated, and the end of the story.
    pub(super) fn run(&mut self, rough_nanos: u64) -> Result<(), Violation> {
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
        self.at(MILLI, Due::Ask);
        self.at(50 * MILLI, Due::Trouble);
        while self.now < rough_nanos {
            self.step()?;
        }
        self.is_rough = false;
        self.mend_all();
        let until = self.now + MENDED_NANOS;
        while !self.is_settled() {
            self.stop_strangers();
            if self.now > until {
                let unsettled = self.unsettled();
                self.violate(
                    "liveness",
                    format!("a minute after all was mended, {unsettled}"),
                );
            }
            self.step()?;
        }
        let applied = self.members_running().map(|running| running.applied());
        self.clients.check(applied.min().unwrap_or(0));
        self.check()
    }

    fn step(&mut self) -> Result<(), Violation> {
        let ((time, _), due) = self.due.pop_first().expect("something is always due");
        self.now = time;
        match due {
            Due::Run(id, start, part) => self.run_part(id, start, part),
            Due::Wake(id, start) => {
                if let Some(seat) = self.seat_of(id, start) {
                    seat.wake_at = u64::MAX;
                    self.give(id, Event::Wake);
                }
            }
            Due::Arrive(message) => {
                let message = carried(&message);
                self.give(message.to.0, Event::Core(Box::new(Input::Message(message))));
            }
            Due::Ask => self.ask(),
            Due::Trouble => self.trouble(),
            Due::Interrupt(id) => self.interrupt(id),
            Due::Start(id) => self.start(id),
            Due::Mend(id) => self.mend(id),
            Due::Operate => self.operate(),
        }
        self.clients.look();
        let under_way = self.changes.len();
        self.changes.retain(|change| !change.is_ready());
        if self.changes.len() < under_way {
            self.last_change = self.now;
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), Violation> {
        let violation = self.ledger.open().violation.take();
        violation.map_or(Ok(()), |violation| Err(self.told(violation)))
    }

    /// With what happened last before it.
    pub(super) fn told(&self, Violation { invariant, what }: Violation) -> Violation {
        let from = self.story.len().saturating_sub(SAY_LAST);
        let what = format!("{what}\n  {}", self.story[from..].join("\n  "));
        Violation { invariant, what }
    }

    pub(super) fn say(&mut self, text: String) {
        let millis = self.now / MILLI;
        self.story.push(format!("{millis:>6} ms  {text}"));
    }

    pub(super) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    pub(super) fn at(&mut self, after: u64, due: Due) {
        self.count += 1;
        self.due.insert((self.now + after, self.count), due);
    }

    pub(super) fn seat(&mut self, id: u64, founders: Vec<Member>, is_witness: bool) {
        let random = &mut self.random;
        let incarnation = random.next() | 1;
        let founding = Founding {
            cluster: self.cluster,
            replica: ReplicaId(id),
            incarnation,
            founders,
        };
        let setup = Setup {
            founding,
            is_witness,
            engine: EngineConfig {
                proposal_timeout: Duration::from_secs(2),
                held_entries_max: random.between(10, 300),
                digest_interval: Duration::from_millis(random.pick(&[200, 1_000, 20_000])),
                tail_entries: random.pick(&[0, 10, 100]),
                ..EngineConfig::default()
            },
            applier: ApplierConfig {
                snapshot_entries: self.snapshot_entries.unwrap_or(random.between(10, 200)),
                snapshot_bytes: 1 << 20,
            },
            segment_bytes: random.pick(&[4 << 10, 16 << 10, 64 << 10]),
            tail_bytes: random.pick(&[0, 1 << 10, 1 << 20]),
            piece_bytes: random.between(16, 2_000) as usize,
            stored_every: self.stored_every,
            nearest: nearest(id, &mut Random::new(incarnation)),
            piece_pause_max: random.pick(&[MILLI, 10 * MILLI, 100 * MILLI]),
        };
        let seat = Seat {
            disk: SimDisk::default(),
            setup,
            running: None,
            start: 0,
            busy: BTreeSet::new(),
            wake_at: u64::MAX,
            clock_offset: 0,
            is_slow: false,
            is_gone: false,
            promised: Promised::default(),
            held: (0, 0),
        };
        self.seats.insert(id, seat);
    }

    /// Whether the next one is to be a witness.
    pub(super) fn draws_witness(&mut self) -> bool {
        let random = self.witnesses.as_mut();
        random.is_some_and(|random| random.chance(400))
    }

    pub(super) fn start(&mut self, id: u64) {
        let seed = self.random.next();
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        if seat.running.is_some() || seat.is_gone {
            return;
        }
        seat.start += 1;
        seat.busy.clear();
        seat.wake_at = u64::MAX;
        seat.clock_offset = self.random.below(1 << 40);
        let nearest = seat.setup.nearest.clone();
        let config = |config: Config| Config {
            nearest,
            timing: timing(),
            seed,
            message_bytes_max: 4 << 10,
            in_flight_bytes_max: 16 << 10,
            cache_bytes_max: 8 << 10,
            apply_bytes_max: 2 << 10,
            ..config
        };
        let now = time(self.now, seat);
        let (disk, setup) = (&seat.disk, &seat.setup);
        let machine = || {
            let machine = (self.make)(disk)?;
            let is_in_memory = machine.durable().is_none();
            let machine = Probe::new(machine, id, self.ledger.clone());
            match setup.stored_every {
                every if is_in_memory && every > 0 => machine.kept(disk.clone(), every),
                _ => Ok(machine),
            }
        };
        let started = match setup.is_witness {
            true => Either::witness(disk, setup, config, now),
            false => machine()
                .map_err(|error: io::Error| error.to_string())
                .and_then(|machine| Either::full(disk, setup, machine, config, now)),
        };
        match started {
            Ok(running) => {
                let forgotten = seat.promised.forgotten(&running.progress());
                seat.running = Some(running);
                if let Some(what) = forgotten {
                    self.violate("nothing is forgotten", format!("replica {id}: {what}"));
                }
                self.say(format!("{id} starts"));
                self.give(id, Event::Wake);
            }
            Err(error) if seat.disk.is_disturbed() => self.fell(id, &error),
            Err(error) if self.is_rotten(id) => self.give_up(id, &error),
            Err(error) => self.violate("starting again", format!("replica {id} does not: {error}")),
        }
    }

    pub(super) fn violate(&self, invariant: &'static str, text: String) {
        self.ledger.open().violate(invariant, text);
    }

    fn seat_of(&mut self, id: u64, start: u64) -> Option<&mut Seat<M>> {
        let seat = self.seats.get_mut(&id)?;
        (seat.start == start && seat.running.is_some()).then_some(seat)
    }

    pub(super) fn give(&mut self, id: u64, event: Event<Probe<M>>) {
        let running = self
            .seats
            .get_mut(&id)
            .and_then(|seat| seat.running.as_mut());
        if let Some(running) = running {
            running.give(event);
            self.schedule(id);
        }
    }

    /// Every part that has something to do gets a time for it.
    pub(super) fn schedule(&mut self, id: u64) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        let Some(running) = &seat.running else {
            return;
        };
        let slow = if seat.is_slow { 40 } else { 1 };
        let mut todo = Vec::new();
        for (part, most) in [
            (Part::Core, 30 * MICRO),
            (Part::Log, slow * MILLI),
            (Part::Store, slow * MILLI),
            (Part::Applier, slow * 200 * MICRO),
            (Part::Saver, slow * 5 * MILLI),
            (Part::Sender, seat.setup.piece_pause_max),
        ] {
            if running.has_work(part) && seat.busy.insert(part) {
                todo.push((
                    self.random.between(MICRO, most),
                    Due::Run(id, seat.start, part),
                ));
            }
        }
        let deadline = running.deadline();
        let wake = deadline.saturating_sub(seat.clock_offset);
        // A core that has something to do looks at its deadline by itself.
        if deadline != u64::MAX && wake < seat.wake_at && !seat.busy.contains(&Part::Core) {
            seat.wake_at = wake;
            todo.push((wake.saturating_sub(self.now), Due::Wake(id, seat.start)));
        }
        todo.into_iter()
            .for_each(|(after, due)| self.at(after, due));
    }

    fn run_part(&mut self, id: u64, start: u64, part: Part) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        if seat.start != start {
            return;
        }
        seat.busy.remove(&part);
        let now = time(now, seat);
        let Some(running) = &mut seat.running else {
            return;
        };
        let came = match running.run(part, now, &mut self.random) {
            Ok(came) => came,
            Err(error) if seat.disk.is_disturbed() => return self.fell(id, &error),
            Err(error) if self.is_rotten(id) => return self.give_up(id, &error),
            Err(error) => return self.violate("going on", format!("replica {id} stops: {error}")),
        };
        if came.is_removed {
            seat.running = None;
            seat.is_gone = true;
            self.reach("a replica was removed");
            return self.say(format!("{id} was removed and stops"));
        }
        let progress = running.progress();
        seat.promised.note(&progress, &came.messages);
        if progress.state == State::Leader {
            self.leads(id, progress.term);
        }
        came.messages
            .into_iter()
            .for_each(|message| self.send(message));
        self.schedule(id);
        self.note_held(id);
        self.check_dropped(id, came.noted);
        let counted = came.noted.into_iter().chain(came.reached);
        counted.for_each(|what| self.reach(what));
        if let Some(sender) = came.sender {
            let after = self.random.between(MILLI, 100 * MILLI);
            // The leader has trouble enough of its own.
            let leader = self.leaders.values().last();
            let is_lender = leader != Some(&sender.0);
            let is_struck = is_lender && self.random.chance(500);
            let struck = if is_struck { sender.0 } else { id };
            self.at(after, Due::Interrupt(struck));
        }
    }

    fn leads(&mut self, id: u64, term: u64) {
        if self.seats[&id].setup.is_witness {
            self.violate(
                "witnesses never lead",
                format!("replica {id} leads term {term}"),
            );
        }
        match self.leaders.insert(term, id) {
            Some(other) if other != id => {
                let text = format!("replicas {other} and {id} both lead term {term}");
                self.violate("election safety", text);
            }
            Some(_) => {}
            None => {
                self.reach("a leader was elected");
                self.say(format!("{id} leads term {term}"));
            }
        }
    }

    /// A failed disk ends a start; what was written is still in the machine's memory.
    fn fell(&mut self, id: u64, error: &str) {
        self.reach("a disk failed");
        self.say(format!("{id} stops: {error}"));
        self.down(id);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.disk.survive_kill();
        }
    }

    pub(super) fn down(&mut self, id: u64) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.running = None;
        }
        let after = self.random.between(10 * MILLI, 2 * SECOND);
        self.at(after, Due::Start(id));
    }

    fn send(&mut self, message: Message) {
        let (from, to) = (message.from.0, message.to.0);
        let rough = u64::from(self.is_rough && self.troubles.allows(Trouble::Loss));
        if self.cut.contains(&(from, to)) || self.random.chance(20 * rough) {
            return;
        }
        for _ in 0..=u64::from(self.random.chance(20 * rough)) {
            let late = self.random.chance(30 * rough);
            let most = if late { 200 * MILLI } else { 500 * MICRO };
            let after = self.random.between(20 * MICRO, most);
            self.at(after, Due::Arrive(Box::new(message.clone())));
        }
    }

    fn ask(&mut self) {
        if !self.is_rough {
            return;
        }
        let ids: Vec<u64> = self.running().collect();
        if !ids.is_empty() {
            let id = self.random.pick(&ids);
            let event = self.clients.ask(&mut self.random, &mut *self.workload);
            self.give(id, event);
        }
        let after = self.random.between(MILLI, 40 * MILLI);
        self.at(after, Due::Ask);
    }

    pub(super) fn running(&self) -> impl Iterator<Item = u64> {
        let seats = self.seats.iter();
        seats
            .filter(|(_, seat)| seat.running.is_some())
            .map(|(id, _)| *id)
    }

    pub(super) fn clients(&self) -> &Clients<M> {
        &self.clients
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }
}

/// Whom it is near to: in half of the cases nobody.
fn nearest(id: u64, random: &mut Random) -> Vec<ReplicaId> {
    let often = random.pick(&[0, 500]);
    let others = (1..=5).filter(|other| *other != id);
    others
        .filter(|_| random.chance(often))
        .map(ReplicaId)
        .collect()
}

/// Up to half of them are witnesses.
fn founders(replicas: u64, witnesses: Option<&mut Random>) -> Vec<Member> {
    let count = witnesses.map_or(0, |random| {
        random.between(replicas.min(2) - 1, replicas / 2)
    });
    let one = |id| match id > replicas - count {
        true => Member::witness(id, address(id)),
        false => Member::voter(id, address(id)),
    };
    (1..=replicas).map(one).collect()
}

pub(super) fn address(id: u64) -> String {
    format!("replica {id}")
}

fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(20),
        election: Duration::from_millis(150),
    }
}

fn time<M: StateMachine<Response: Debug>>(now: u64, seat: &Seat<M>) -> Now {
    Now {
        monotonic: now + seat.clock_offset,
        wall: now,
    }
}
