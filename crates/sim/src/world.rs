//! The whole cluster in one thread: what happens next, and who does it.

mod clients;
mod mail;
mod planned;
mod processes;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use little_raft_core::{Event, Input, Membership, ReplicaId, State};

use crate::checks::{Checks, Violation};
use crate::journal::Journal;
use crate::network::Network;
use crate::node::{Due, Effects, Node, founders};
use crate::random::{Random, hash};
use crate::record::Recorder;
use crate::run::Options;
use crate::weather::{MICRO, MILLI, SECOND, Weather};
use planned::{Happening, Planned};

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
        weather.draw_suspensions(options.faults, &mut Random::new(hash(seed, b"suspensions")));
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
            Happening::CutOff { at } => {
                if self.now < self.nodes[*at as usize].paused_until {
                    self.isolate(*at as usize);
                }
                return Ok(());
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

    pub(crate) fn some_time(&mut self) -> u64 {
        self.random.pick(&[20, 300, 1_500, 4_000]) * MILLI
    }
}
