//! One replica: the core joined to a simulated disk and a simulated applier, as a driver would join them.

mod effects;
mod running;
mod work;

use std::collections::{BTreeMap, VecDeque};

use little_raft_core::message::Body;
use little_raft_core::{
    Apply, Base, Config, Input, Member, Membership, Message, Now, Raft, ReplicaId, Write,
};

pub(crate) use effects::{Due, Effects, Ending};

use crate::coverage::Situation;
use crate::disk::Disk;
use crate::machine::{Machine, Snapshot};
use crate::random::Random;
use crate::receiving::{Sender, Senders};
use crate::weather::{HOUR, MICRO, MILLI, Weather};
use running::{Running, Task};

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
