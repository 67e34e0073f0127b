//! One replica: the core joined to a disk that forgets in a crash what was not flushed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use little_raft_core::{
    Apply, Config, Entry, Identity, Input, Membership, Message, Now, Raft, ReplicaId, Timing, Write,
};

use crate::disk::Disk;

/// The shortest there are: moments are small numbers then, and states that differ in nothing else are the same.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_nanos(1),
    election: Duration::from_nanos(2),
};

pub(crate) fn incarnation(id: ReplicaId) -> u64 {
    100 + id.0
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) raft: Raft,
    pub(crate) boot: u64,
    pub(crate) durable: Disk,
    writes: VecDeque<Write>,
    /// What it has written, flushed or not.
    pub(crate) logical: Disk,
}

/// What a replica did, for those around it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) messages: Vec<Message>,
    pub(crate) applied: Vec<Entry>,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, founders: Membership) -> Self {
        let disk = Disk::new(founders);
        Self {
            raft: start(id, 1, &disk, 0),
            boot: 1,
            durable: disk.clone(),
            writes: VecDeque::new(),
            logical: disk,
        }
    }

    pub(crate) fn id(&self) -> ReplicaId {
        self.raft.config().id
    }

    pub(crate) fn is_flushing(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Gives an input and does all that it asks for.
    pub(crate) fn step(&mut self, now: u64, input: Input) -> Effects {
        let mut effects = Effects::default();
        let mut next = Some(input);
        while let Some(input) = next {
            self.raft.step(at(now), input);
            next = self.carry_out(now, &mut effects);
        }
        self.raft.check_invariants();
        effects
    }

    /// What is applied is reported at once.
    fn carry_out(&mut self, now: u64, effects: &mut Effects) -> Option<Input> {
        let outputs = self.raft.outputs(at(now));
        effects.messages.extend(outputs.messages);
        if let Some(write) = outputs.write {
            self.logical.keep(&write);
            self.writes.push_back(write);
        }
        match outputs.apply {
            Apply::Nothing => None,
            Apply::Entries(entries) => {
                let index = entries.last()?.position.index;
                effects.applied.extend(entries.iter().cloned());
                Some(Input::Applied { index })
            }
            Apply::Stored { .. } => unreachable!("all entries are in memory"),
        }
    }

    /// Takes the time in, and says the fingerprint there.
    pub(crate) fn noticing(&mut self, now: u64) -> u64 {
        self.raft.step(at(now), Input::Accepting(true));
        self.fingerprint()
    }

    pub(crate) fn flush(&mut self, now: u64) -> Option<Effects> {
        let write = self.writes.pop_front()?;
        self.durable.keep(&write);
        let number = write.number;
        Some(self.step(now, Input::Flushed { write: number }))
    }

    pub(crate) fn crash(&mut self, now: u64) -> Effects {
        self.writes.clear();
        self.logical = self.durable.clone();
        self.boot += 1;
        self.raft = start(self.id(), self.boot, &self.durable, now);
        let mut effects = Effects::default();
        while let Some(input) = self.carry_out(now, &mut effects) {
            self.raft.step(at(now), input);
        }
        effects
    }

    /// Equal for replicas that behave alike from now on, but for how long they wait for elections: what the generator
    /// will draw is not in it. Here that decides nothing, since whoever is to wake is woken.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.raft.fingerprint().hash(&mut hasher);
        (&self.durable, self.boot).hash(&mut hasher);
        for write in &self.writes {
            (write.number, write.hard_state, &write.entries).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn at(now: u64) -> Now {
    Now {
        monotonic: now,
        wall: 0,
    }
}

fn start(id: ReplicaId, boot: u64, disk: &Disk, now: u64) -> Raft {
    let identity = Identity {
        cluster: 1,
        replica: id,
        incarnation: incarnation(id),
        boot,
        founders: Vec::new(),
    };
    let config = Config {
        timing: TIMING,
        ..Config::new(&identity, 0)
    };
    Raft::new(config, disk.restored(), at(now)).expect("a timing that works")
}
