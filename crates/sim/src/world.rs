//! The whole cluster in one thread: what happens next, and who does it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use bytes::{BufMut, Bytes, BytesMut};
use little_raft_core::message::Class;
use little_raft_core::{Codec, Event, Input, Membership, Message, Proposal, ReplicaId, State};

use crate::checks::{Checks, Operation, Violation, ensure};
use crate::coverage::Situation;
use crate::journal::Journal;
use crate::machine::checksum;
use crate::network::{Network, Parcel};
use crate::node::{Due, Effects, Ending, Node, founders};
use crate::random::{Random, hash};
use crate::record::Recorder;
use crate::run::Options;
use crate::weather::{MICRO, MILLI, SECOND, Weather};

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    Arrives {
        from: u64,
        to: u64,
        bytes: Bytes,
    },
    Unreachable {
        at: u64,
        peer: u64,
    },
    Due {
        at: u64,
        boot: u64,
        due: Due,
    },
    /// A client asks for something.
    Asked {
        at: u64,
        ticket: u64,
        is_read: bool,
    },
    Restart {
        at: u64,
    },
    /// A pause may be over.
    Resume {
        at: u64,
    },
    Client,
    /// A client that has heard who leads.
    Rush {
        at: u64,
    },
    Strand {
        at: u64,
    },
    Fault,
}

/// Ordered by time, then by when it was planned.
#[derive(Debug)]
struct Planned {
    at: u64,
    number: u64,
    /// In a box: plans are moved about a lot while they wait.
    what: Box<Happening>,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) weather: Weather,
    pub(crate) journal: Journal,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) checks: Checks,
    /// Until then faults go on and clients speak to everybody.
    pub(crate) is_rough: bool,
    /// No client asks for anything.
    pub(crate) is_idle: bool,
    /// Replicas that stay broken while the others are calm.
    pub(crate) broken: BTreeSet<u64>,
    wakes: Vec<u64>,
    /// What happened to each paused replica.
    piled_up: Vec<Vec<Happening>>,
    planned: BinaryHeap<Reverse<Planned>>,
    plans: u64,
    /// How much has happened: the measure of how long a run takes.
    pub(crate) steps: u64,
    tickets: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options, journal: Journal) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51ed);
        let mut weather = Weather::draw(&mut random, options);
        // By a chance of their own, so that all other runs are as they would be without witnesses.
        weather.draw_witnesses(&mut Random::new(hash(seed, b"witnesses")));
        weather.draw_nearest(&mut Random::new(hash(seed, b"nearest")));
        let mut drift = || random.between(0, 2 * weather.drift) as i64 - weather.drift as i64;
        let founders = founders(&weather);
        let nodes = (1..=weather.nodes()).map(|id| Node::new(id, &weather, drift()));
        let nodes = nodes.collect();
        let recorder = options.record.then(|| Recorder::new(&weather));
        let mut world = Self {
            recorder,
            now: SECOND,
            random,
            journal,
            network: Network::default(),
            nodes,
            checks: Checks::new(founders),
            is_rough: true,
            is_idle: false,
            broken: BTreeSet::new(),
            wakes: vec![u64::MAX; weather.nodes() as usize],
            piled_up: (0..weather.nodes()).map(|_| Vec::new()).collect(),
            planned: BinaryHeap::new(),
            plans: 0,
            steps: 0,
            tickets: 0,
            weather,
        };
        world.journal.note(0, format_args!("{:?}", world.weather));
        for at in 0..world.nodes.len() {
            world.plan(0, Happening::Restart { at: at as u64 });
        }
        world.plan(0, Happening::Client);
        world.plan(SECOND, Happening::Fault);
        world
    }

    fn plan(&mut self, after: u64, what: Happening) {
        self.plans += 1;
        let planned = Planned {
            at: self.now + after,
            number: self.plans,
            what: Box::new(what),
        };
        self.planned.push(Reverse(planned));
    }

    /// Goes on for so long, or until `done` says so.
    pub(crate) fn run(
        &mut self,
        time: u64,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Violation> {
        let until = self.now + time;
        while !done(self) {
            let next = self
                .planned
                .peek()
                .map_or(u64::MAX, |Reverse(planned)| planned.at);
            if next > until {
                self.now = until;
                return Ok(false);
            }
            let Reverse(planned) = self.planned.pop().expect("it was there");
            self.now = planned.at;
            self.happen(*planned.what)?;
        }
        Ok(true)
    }

    fn happen(&mut self, what: Happening) -> Result<(), Violation> {
        self.steps += 1;
        let at = match &what {
            Happening::Asked { at, .. } => *at,
            Happening::Arrives { to, .. } => to - 1,
            Happening::Unreachable { at, .. } | Happening::Due { at, .. } => *at,
            Happening::Restart { at } => return self.restart(*at as usize),
            Happening::Resume { at } => {
                self.resume(*at as usize);
                return Ok(());
            }
            Happening::Client => return self.client(),
            Happening::Rush { at } => {
                let is_read = self.random.chance(self.weather.reads);
                return self.operate(*at as usize, is_read);
            }
            Happening::Strand { at } => {
                if self.now < self.network.strand_until {
                    self.isolate(*at as usize);
                }
                return Ok(());
            }
            Happening::Fault => {
                let every = self.random.between(1, 2 * self.weather.fault_every);
                self.plan(every, Happening::Fault);
                return self.fault();
            }
        } as usize;
        let node = &self.nodes[at];
        if node.raft().is_none() {
            return Ok(());
        }
        if self.now < node.paused_until {
            self.piled_up[at].push(what);
            return Ok(());
        }
        match what {
            Happening::Arrives { from, to, bytes } => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.arrived(self.now, (from, to), &bytes);
                }
                self.arrive(at, bytes)
            }
            Happening::Unreachable { peer, .. } => {
                self.input(at, Input::Unreachable(ReplicaId(peer)))
            }
            Happening::Due { boot, due, .. } if boot == node.boot => self.due(at, due),
            Happening::Asked {
                ticket, is_read, ..
            } if self.checks.operations.open.contains_key(&ticket) => self.ask(at, ticket, is_read),
            _ => Ok(()),
        }
    }

    fn arrive(&mut self, at: usize, bytes: Bytes) -> Result<(), Violation> {
        let digest = hash(0, &bytes);
        let message = Message::from_bytes(bytes).expect("what was encoded decodes");
        let Message { from, term, .. } = message;
        self.journal.note(
            self.now,
            format_args!("{} hears {from} in {term}: {digest:x}", at + 1),
        );
        self.journal
            .detail(self.now, format_args!("{:?}", message.body));
        self.checks.leading.heard(self.now, &message);
        let committed = &self.checks.committed;
        self.checks
            .settled
            .heard(&self.nodes, &message, committed)?;
        if let Some(raft) = self.nodes[at].raft() {
            self.checks.observer.arrives(raft, &message);
        }
        self.input(at, Input::Message(message))
    }

    /// Gives the core an input; its outputs are drained now, or after more inputs.
    pub(crate) fn input(&mut self, at: usize, input: Input) -> Result<(), Violation> {
        if let Some(recorder) = &mut self.recorder {
            recorder.asked(self.now, at as u64 + 1, &input);
        }
        self.nodes[at].step(self.now, input);
        self.finish(at, Effects::default())
    }

    fn due(&mut self, at: usize, due: Due) -> Result<(), Violation> {
        if let Due::Wake = due {
            self.wakes[at] = u64::MAX;
        }
        self.journal
            .note(self.now, format_args!("{} {}", at + 1, due.name()));
        self.journal.detail(self.now, format_args!("{due:?}"));
        self.record_due(at, &due);
        let mut effects = Effects::default();
        self.nodes[at].due(self.now, due, &mut self.random, &self.weather, &mut effects);
        self.finish(at, effects)
    }

    fn record_due(&mut self, at: usize, due: &Due) {
        let (now, id) = (self.now, at as u64 + 1);
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        match due {
            Due::Wake if self.nodes[at].deadline() <= now => recorder.woke(now, id),
            Due::Flushed => recorder.flushed(now, id, self.nodes[at].disk.in_flush()),
            Due::SnapshotTaken(snapshot) => {
                let index = snapshot.base.position.index;
                recorder.asked(now, id, &Input::Compact { index });
            }
            _ => {}
        }
    }

    fn finish(&mut self, at: usize, mut effects: Effects) -> Result<(), Violation> {
        if self.random.chance(self.weather.lazy_drain) {
            effects
                .later
                .push((self.random.below(300 * MICRO), Due::Drain));
            self.recorder
                .iter_mut()
                .for_each(|it| it.held(at as u64 + 1));
        } else {
            let recorder = self.recorder.iter_mut();
            recorder.for_each(|it| it.drained(self.now, at as u64 + 1));
            self.nodes[at].drain(self.now, &mut self.random, &self.weather, &mut effects);
        }
        self.report(at, &effects);
        self.look_at_reads(&mut effects);
        self.checks.stepped(&self.nodes, at, self.now, &effects)?;
        let boot = self.nodes[at].boot;
        for (after, due) in effects.later {
            self.plan(
                after,
                Happening::Due {
                    at: at as u64,
                    boot,
                    due,
                },
            );
        }
        self.rush(at, &effects.events);
        self.strand(at, &effects.events);
        for message in effects.sends {
            self.send(message);
        }
        let deadline = self.nodes[at].deadline().max(self.now);
        if deadline < self.wakes[at] && deadline < 1 << 60 {
            self.wakes[at] = deadline;
            let due = Due::Wake;
            self.plan(
                deadline - self.now,
                Happening::Due {
                    at: at as u64,
                    boot,
                    due,
                },
            );
        }
        Ok(())
    }

    fn look_at_reads(&self, effects: &mut Effects) {
        let leaders = self.checks.election.leaders();
        for (ticket, ending) in &effects.ended {
            let asked = self.checks.operations.open.get(ticket);
            let is_across = asked.is_some_and(|asked| asked.leaders < leaders);
            effects.reached.extend(match ending {
                Ending::Read { .. } if is_across => Some(Situation::ReadAcrossLeaders),
                Ending::Unknown => Some(Situation::Unknown),
                _ => None,
            });
        }
    }

    /// Clients that wait for a leader come as soon as there is one.
    fn rush(&mut self, at: usize, events: &[Event]) {
        let has_leader = |event: &Event| {
            matches!(
                event,
                Event::Leadership {
                    leader: Some(_),
                    ..
                }
            )
        };
        if self.weather.is_eager && !self.is_idle && events.iter().any(has_leader) {
            for _ in 0..self.random.below(4) {
                let after = self.random.below(5 * MILLI);
                self.plan(after, Happening::Rush { at: at as u64 });
            }
        }
    }

    fn strand(&mut self, at: usize, events: &[Event]) {
        let leads = |event: &Event| matches!(event, Event::Leadership { state, .. } if *state == State::Leader);
        if self.now < self.network.strand_until && events.iter().any(leads) {
            let after = self.random.pick(&[MILLI, 20 * MILLI, 200 * MILLI]);
            let after = self.random.below(after);
            self.plan(after, Happening::Strand { at: at as u64 });
        }
    }

    fn report(&mut self, at: usize, effects: &Effects) {
        for event in &effects.events {
            self.journal
                .note(self.now, format_args!("{} {event:?}", at + 1));
        }
        for (ticket, ending) in &effects.ended {
            self.journal.note(
                self.now,
                format_args!("{} ends {ticket}: {ending:?}", at + 1),
            );
        }
    }

    fn send(&mut self, message: Message) {
        let (from, to) = (message.from.0, message.to.0);
        let bytes = message.to_bytes();
        assert_eq!(
            Message::from_bytes(bytes.clone()).as_ref(),
            Ok(&message),
            "codec"
        );
        self.garble(&bytes);
        let parcel = Parcel {
            bytes: bytes.len(),
            is_urgent: message.class() == Class::Urgent,
        };
        let fate = self.network.fate(
            self.now,
            (from, to),
            parcel,
            &mut self.random,
            &self.weather,
        );
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(&message, &bytes, fate.arrivals.len());
        }
        for after in fate.arrivals {
            self.plan(
                after,
                Happening::Arrives {
                    from,
                    to,
                    bytes: bytes.clone(),
                },
            );
        }
        if let Some(after) = fate.unreachable {
            self.plan(
                after,
                Happening::Unreachable {
                    at: from - 1,
                    peer: to,
                },
            );
        }
    }

    /// Rule 11: nothing that comes from outside panics. Frames are checksummed, so that it goes no further.
    fn garble(&mut self, bytes: &Bytes) {
        if self.random.chance(5) {
            let mut garbled = BytesMut::from(&bytes[..]);
            let at = self.random.below(garbled.len() as u64) as usize;
            garbled[at] ^= 1 << self.random.below(8);
            garbled.truncate(bytes.len() - self.random.below(bytes.len() as u64 / 2) as usize);
            let _ = Message::from_bytes(garbled.freeze());
        }
    }

    /// The whole process stops for a while.
    pub(crate) fn pause(&mut self, at: usize, until: u64) {
        self.nodes[at].paused_until = until;
        self.plan(until - self.now, Happening::Resume { at: at as u64 });
    }

    /// What piled up is taken by many threads, one for each peer: in any order, or one peer's after another's.
    fn resume(&mut self, at: usize) {
        if self.now < self.nodes[at].paused_until {
            return;
        }
        let in_turn = self.random.chance(500);
        let begins: Vec<u64> = (0..=self.nodes.len())
            .map(|_| self.random.below(2 * MILLI))
            .collect();
        for what in std::mem::take(&mut self.piled_up[at]) {
            let after = match &what {
                Happening::Arrives { from, .. } if in_turn => begins[*from as usize],
                Happening::Asked { .. } if in_turn => begins[0],
                _ => self.random.below(2 * MILLI),
            };
            self.plan(after, what);
        }
    }

    fn restart(&mut self, at: usize) -> Result<(), Violation> {
        if self.nodes[at].raft().is_some() {
            return Ok(());
        }
        self.journal
            .note(self.now, format_args!("{} starts", at + 1));
        self.wakes[at] = u64::MAX;
        let mut effects = Effects::default();
        self.nodes[at].start(self.now, &mut self.random, &self.weather, &mut effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.started(self.now, at as u64 + 1, self.nodes[at].boot);
        }
        self.finish(at, effects)
    }

    pub(crate) fn crash(&mut self, at: usize, down: u64) {
        if self.nodes[at].raft().is_none() {
            return;
        }
        self.journal
            .note(self.now, format_args!("{} crashes", at + 1));
        let pending = self.nodes[at].disk.pending();
        let lost = self.nodes[at].crash(&mut self.random);
        if let Some(recorder) = &mut self.recorder {
            recorder.flushed(self.now, at as u64 + 1, pending - lost);
            recorder.crashed(self.now, at as u64 + 1);
        }
        let is_last = self.nodes.iter().all(|node| node.raft().is_none());
        self.checks.observer.crashed(&self.nodes[at], lost, is_last);
        self.piled_up[at].clear();
        self.checks.operations.lost(at as u64 + 1);
        self.plan(down, Happening::Restart { at: at as u64 });
    }

    fn client(&mut self) -> Result<(), Violation> {
        let every = self.random.between(1, 2 * self.weather.propose_every);
        self.plan(every, Happening::Client);
        self.checks
            .operations
            .expire(self.now.saturating_sub(10 * SECOND));
        if self.is_idle {
            return Ok(());
        }
        let at = self.whom_to_ask();
        let is_read = self.random.chance(self.weather.reads);
        self.operate(at, is_read)
    }

    /// Half the clients ask who leads, or believes to.
    pub(crate) fn whom_to_ask(&mut self) -> usize {
        let leads = |node: &Node| {
            node.raft()
                .is_some_and(|raft| raft.state() == State::Leader)
        };
        let leaders = (0..self.nodes.len()).filter(|at| leads(&self.nodes[*at]));
        let leaders: Vec<usize> = leaders.collect();
        match leaders.is_empty() || self.random.chance(500) {
            true => self.random.below(self.nodes.len() as u64) as usize,
            false => self.random.pick(&leaders),
        }
    }

    /// A client asks a replica for something, if it is up.
    pub(crate) fn operate(&mut self, at: usize, is_read: bool) -> Result<(), Violation> {
        let node = &self.nodes[at];
        if node.raft().is_none() {
            return Ok(());
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let operation = Operation {
            is_read,
            replica: node.id.0,
            began: self.now,
            floor: self.checks.committed.last(),
            leaders: self.checks.election.leaders(),
        };
        self.checks.operations.open.insert(ticket, operation);
        self.journal.note(
            self.now,
            format_args!("{} is asked {ticket}: {operation:?}", at + 1),
        );
        self.happen(Happening::Asked {
            at: at as u64,
            ticket,
            is_read,
        })
    }

    fn ask(&mut self, at: usize, ticket: u64, is_read: bool) -> Result<(), Violation> {
        if is_read {
            return self.input(at, Input::Read { ticket });
        }
        let mut payload = BytesMut::new();
        payload.put_u64_le(ticket);
        payload.resize(
            8 + self.random.below(self.weather.payload_max) as usize,
            ticket as u8,
        );
        let payload = payload.freeze();
        let checksum = checksum(&payload);
        let proposal = Proposal::command(checksum, payload);
        self.input(at, Input::Propose { ticket, proposal })
    }

    /// The replica that leads the highest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let led = |node: &Node| {
            let raft = node.raft().filter(|raft| raft.state() == State::Leader);
            raft.map(|raft| raft.term())
        };
        let leaders = (0..self.nodes.len()).filter_map(|at| Some((led(&self.nodes[at])?, at)));
        leaders.max().map(|(_, at)| at)
    }

    /// Who belongs, as the leader has it.
    pub(crate) fn membership(&self) -> Membership {
        let leader = self.leader();
        leader.map_or(Membership::default(), |leader| {
            self.nodes[leader].disk.logical.membership().clone()
        })
    }

    /// Whoever belongs has served its reads; the others have nobody to ask.
    pub(crate) fn check_open_reads(&self) -> Result<(), Violation> {
        let members = self.membership();
        let mut open = self.checks.operations.open.iter();
        let open = open
            .find(|(_, open)| open.is_read && members.member(ReplicaId(open.replica)).is_some());
        ensure(open.is_none(), "whatever began ends", || {
            format!("{open:?} never ended")
        })
    }

    /// Starts what is down.
    pub(crate) fn start_all(&mut self) -> Result<(), Violation> {
        (0..self.nodes.len()).try_for_each(|at| self.restart(at))
    }

    pub(crate) fn some_time(&mut self) -> u64 {
        self.random.pick(&[20, 300, 1_500, 4_000]) * MILLI
    }
}
