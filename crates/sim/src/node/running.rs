//! What lives and dies with a boot: the core, the machine, and whoever waits for it.

use std::collections::{BTreeMap, VecDeque};

use little_raft_core::{Base, ChangeError, Entry, Membership, Position, Raft, Refusal, ReplicaId};

use super::{CHANGE, Effects, Ending};
use crate::coverage::Situation;
use crate::machine::{Machine, Snapshot, ticket};
use crate::random::Random;
use crate::receiving::{Receiving, Senders};
use crate::weather::Weather;

#[derive(Debug)]
pub(super) enum Task {
    Entries(Vec<Entry>),
    Stored { first: u64, last: u64 },
    Install(Base),
}

/// What lives and dies with a boot.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) raft: Raft,
    pub(super) machine: Machine,
    /// The membership at what the machine has applied.
    pub(super) membership: Membership,
    pub(super) tasks: VecDeque<Task>,
    pub(super) snapshot_taken: u64,
    pub(super) snapshot_every: u64,
    pub(super) sending: BTreeMap<(ReplicaId, u64), Snapshot>,
    pub(super) receiving: Option<Receiving>,
    pub(super) senders: Senders,
    /// Reads that wait for the machine: index, ticket.
    pub(super) reads: Vec<(u64, u64)>,
    /// Proposals that wait for the machine, by index: term, ticket.
    pub(super) proposals: BTreeMap<u64, Vec<(u64, u64)>>,
    /// The term of each entry applied in this boot.
    pub(super) applied: BTreeMap<u64, u64>,
}

impl Running {
    pub(super) fn proposed(
        &mut self,
        ticket: u64,
        outcome: Result<Position, Refusal>,
        effects: &mut Effects,
    ) {
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

    pub(super) fn apply(&mut self, entries: Vec<Entry>, effects: &mut Effects) {
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
    pub(super) fn skip_to_snapshot(&mut self) {
        let newer = self
            .tasks
            .iter()
            .position(|task| matches!(task, Task::Install(_)));
        self.tasks
            .drain(..newer.expect("only a newer snapshot replaces what is stored"));
    }

    /// What the snapshot covers was never seen: its outcome is unknown.
    pub(super) fn install(&mut self, base: &Base, snapshot: &Snapshot, effects: &mut Effects) {
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
    pub(super) fn snapshot(&self, random: &mut Random, weather: &Weather) -> Snapshot {
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

    pub(super) fn serve_reads(&mut self, effects: &mut Effects) {
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
