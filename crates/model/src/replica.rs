//! One replica: the core joined to a disk that forgets in a crash what was not flushed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use little_raft_core::{
    Apply, Config, Entry, Identity, Input, Leases, Membership, Message, Now, PieceOutcome, Raft,
    ReceivedPiece, ReplicaId, Timing, Write,
};

use crate::disk::Disk;
use crate::machine::Machine;

/// What all replicas have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) timing: Timing,
    pub(crate) leases: Option<Leases>,
}

pub(crate) fn incarnation(id: ReplicaId) -> u64 {
    100 + id.0
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) raft: Raft,
    pub(crate) boot: u64,
    /// What its clock shows.
    pub(crate) clock: u64,
    pub(crate) durable: Disk,
    writes: VecDeque<Write>,
    /// What it has written, flushed or not.
    pub(crate) logical: Disk,
    machine: Machine,
    /// Its newest snapshot: durable.
    saved: Machine,
}

/// What a replica did, for those around it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) messages: Vec<Message>,
    pub(crate) applied: Vec<Entry>,
    /// Reads that may be served, each at which index.
    pub(crate) reads: Vec<(u64, u64)>,
    /// The state that its own was replaced by.
    pub(crate) installed: Option<Machine>,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, founders: Membership, habits: Habits) -> Self {
        let disk = Disk::new(founders.clone());
        let machine = Machine::new(founders);
        Self {
            raft: start(id, 1, &disk, 0, habits),
            boot: 1,
            clock: 0,
            durable: disk.clone(),
            writes: VecDeque::new(),
            logical: disk,
            saved: machine.clone(),
            machine,
        }
    }

    pub(crate) fn id(&self) -> ReplicaId {
        self.raft.config().id
    }

    pub(crate) fn is_flushing(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(crate) fn saved_index(&self) -> u64 {
        self.saved.at.position.index
    }

    /// Whether a snapshot would let its log begin later.
    pub(crate) fn may_compact(&self) -> bool {
        self.machine.at.position.index > self.raft.base().index
    }

    /// Gives an input and does all that it asks for.
    pub(crate) fn step(&mut self, input: Input) -> Effects {
        let mut effects = Effects::default();
        self.step_into(input, &mut effects);
        self.raft.check_invariants();
        effects
    }

    fn step_into(&mut self, input: Input, effects: &mut Effects) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.raft.step(at(self.clock), input);
            inputs.extend(self.carry_out(effects));
        }
    }

    /// What is applied is reported at once, and so is what is stored of a snapshot.
    fn carry_out(&mut self, effects: &mut Effects) -> Vec<Input> {
        let outputs = self.raft.outputs(at(self.clock));
        effects.messages.extend(outputs.messages);
        let reads = outputs.reads.into_iter();
        let served = reads.filter_map(|(ticket, index)| Some((ticket, index.ok()?)));
        effects.reads.extend(served);
        if let Some(write) = outputs.write {
            self.logical.keep(&write);
            self.writes.push_back(write);
        }
        let mut inputs = Vec::new();
        for wanted in outputs.send_snapshot {
            let (to, piece) = (wanted.to, self.machine.piece(wanted.transfer));
            inputs.push(Input::SendPiece { to, piece });
        }
        inputs.extend(outputs.pieces.iter().map(|received| self.store(received)));
        if let Some(base) = outputs.install {
            assert_eq!(base, self.saved.at, "what was stored last is installed");
            self.machine = self.saved.clone();
            effects.installed = Some(self.saved.clone());
            let index = base.position.index;
            inputs.push(Input::Applied { index });
        }
        inputs.extend(self.apply(outputs.apply, effects));
        inputs
    }

    fn store(&mut self, received: &ReceivedPiece) -> Input {
        let piece = &received.piece;
        self.saved = Machine::of(piece);
        Input::PieceStored {
            from: received.from,
            transfer: piece.transfer,
            outcome: PieceOutcome::Complete(piece.base.clone()),
        }
    }

    fn apply(&mut self, apply: Apply, effects: &mut Effects) -> Option<Input> {
        match apply {
            Apply::Nothing => None,
            Apply::Entries(entries) => {
                let index = entries.last()?.position.index;
                entries.iter().for_each(|entry| self.machine.apply(entry));
                effects.applied.extend(entries.iter().cloned());
                Some(Input::Applied { index })
            }
            Apply::Stored { .. } => unreachable!("all entries are in memory"),
        }
    }

    /// How long until it wants to be woken.
    pub(crate) fn wait(&self) -> u64 {
        self.raft.deadline().saturating_sub(self.clock)
    }

    /// Lets time pass, and says the fingerprint there.
    pub(crate) fn noticing(&mut self, passed: u64) -> u64 {
        self.clock += passed;
        self.raft.step(at(self.clock), Input::Accepting(true));
        self.fingerprint()
    }

    pub(crate) fn flush(&mut self) -> Option<Effects> {
        let write = self.writes.pop_front()?;
        self.durable.keep(&write);
        let number = write.number;
        Some(self.step(Input::Flushed { write: number }))
    }

    /// Saves a snapshot of all that is applied, and lets the log begin after it.
    pub(crate) fn compact(&mut self) -> Effects {
        self.saved = self.machine.clone();
        let index = self.saved_index();
        self.step(Input::Compact { index })
    }

    pub(crate) fn crash(&mut self) -> Effects {
        self.writes.clear();
        self.durable.reach(&self.saved.at);
        self.logical = self.durable.clone();
        self.machine = self.saved.clone();
        self.boot += 1;
        let config = self.raft.config();
        let habits = Habits {
            timing: config.timing,
            leases: config.leases,
        };
        self.raft = start(self.id(), self.boot, &self.durable, self.clock, habits);
        let mut effects = Effects::default();
        let index = self.machine.at.position.index;
        self.step_into(Input::Applied { index }, &mut effects);
        effects
    }

    /// Equal for replicas that behave alike from now on, but for how long they wait for elections: what the generator
    /// will draw is not in it. Here that decides nothing, since whoever is to wake is woken.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.raft.fingerprint().hash(&mut hasher);
        (&self.durable, self.boot).hash(&mut hasher);
        (&self.machine, &self.saved).hash(&mut hasher);
        for write in &self.writes {
            (write.number, write.hard_state).hash(&mut hasher);
            (&write.base, &write.entries).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn at(clock: u64) -> Now {
    Now {
        monotonic: clock,
        wall: 0,
    }
}

fn start(id: ReplicaId, boot: u64, disk: &Disk, clock: u64, habits: Habits) -> Raft {
    let identity = Identity {
        cluster: 1,
        replica: id,
        incarnation: incarnation(id),
        boot,
        founders: Vec::new(),
    };
    let config = Config {
        timing: habits.timing,
        leases: habits.leases,
        ..Config::new(&identity, 0)
    };
    Raft::new(config, disk.restored(), at(clock)).expect("a timing that works")
}
