//! What is known from outside about all that happened before, and what must hold of it after every step.

use std::collections::{BTreeMap, BTreeSet};

use little_raft_core::{Entry, EntryKind, Position, Raft, ReplicaId, State};

use crate::disk::Disk;
use crate::quorum::{has_quorum, is_voter};
use crate::replica::{Effects, Replica};

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// Two lead one term (Raft, section 5.2).
    ElectionSafety,
    /// Two logs have the same entry at a place, and differ before it (Raft, section 5.3).
    LogMatching,
    /// Somebody leads, or could by the disks as they are, who lacks what is committed (Raft, section 5.4).
    LeaderCompleteness,
    /// Something else is committed where something was, or a replica's committed index went back.
    Committed,
    /// What counts as committed is not on a majority's disks.
    Durability,
    /// Two replicas apply different entries at one place, or one leaves a place out (Raft, section 5.4.3).
    StateMachineSafety,
    /// An assertion of the core.
    Panic,
}

impl Broken {
    /// All there are, with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::ElectionSafety, "election safety"),
        (Self::LogMatching, "log matching"),
        (Self::LeaderCompleteness, "leader completeness"),
        (Self::Committed, "committed"),
        (Self::Durability, "durability"),
        (Self::StateMachineSafety, "state machine safety"),
        (Self::Panic, "no panic"),
    ];
}

fn ensure(holds: bool, otherwise: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// An entry that is committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Commit {
    entry: Entry,
    /// The least term in which anybody knew it.
    known_in: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// Who led each term, and in which boot.
    pub(crate) leaders: BTreeMap<u64, (ReplicaId, u64)>,
    committed: Vec<Commit>,
    /// How far each replica has applied in its boot, and its committed index.
    progress: BTreeMap<ReplicaId, (u64, u64)>,
}

impl Known {
    pub(crate) fn has_command(&self) -> bool {
        let mut kinds = self.committed.iter().map(|commit| commit.entry.kind);
        kinds.any(|kind| kind == EntryKind::Command)
    }

    pub(crate) fn committed_terms(&self) -> usize {
        let terms = self.committed.iter();
        let terms: BTreeSet<u64> = terms.map(|commit| commit.entry.position.term).collect();
        terms.len()
    }

    pub(crate) fn has_change(&self) -> bool {
        let mut memberships = self.committed.iter().rev();
        let newest = memberships.find_map(|commit| commit.entry.membership());
        newest.is_some_and(|newest| !newest.is_joint())
    }

    /// What a replica knew before it was killed is gone.
    pub(crate) fn crashed(&mut self, id: ReplicaId) {
        self.progress.remove(&id);
    }

    /// Looks at a replica that has taken a step, among all of them.
    pub(crate) fn stepped<'a>(
        &mut self,
        replica: &Replica,
        all: impl Iterator<Item = &'a Replica> + Clone,
        effects: &Effects,
    ) -> Result<(), Broken> {
        let raft = &replica.raft;
        let others = all.clone().filter(|it| it.id() != replica.id());
        for other in others {
            logs_match(&replica.logical, &other.logical)?;
        }
        self.leads(replica)?;
        for position in self.commits(replica)? {
            is_durable(position, raft, all.clone())?;
            let lacking = all.clone().filter(|it| !it.durable.holds(position));
            for it in lacking {
                let is_safe = !is_electable(&it.durable, it.id(), all.clone());
                ensure(is_safe, Broken::LeaderCompleteness)?;
            }
        }
        self.applies(replica.id(), &effects.applied)
    }

    fn leads(&mut self, replica: &Replica) -> Result<(), Broken> {
        let raft = &replica.raft;
        if raft.state() != State::Leader {
            return Ok(());
        }
        let us = (replica.id(), replica.boot);
        let known = *self.leaders.entry(raft.term()).or_insert(us);
        ensure(known == us, Broken::ElectionSafety)?;
        let earlier = self
            .committed
            .iter()
            .filter(|commit| commit.known_in < raft.term());
        let mut earlier = earlier.map(|commit| commit.entry.position);
        let is_complete = earlier.all(|it| raft.term_at(it.index) == Some(it.term));
        ensure(is_complete, Broken::LeaderCompleteness)
    }

    /// The positions that this replica has committed before anybody else.
    fn commits(&mut self, replica: &Replica) -> Result<Vec<Position>, Broken> {
        let raft = &replica.raft;
        let (_, seen) = self.progress.entry(replica.id()).or_default();
        ensure(raft.committed() >= *seen, Broken::Committed)?;
        let before = std::mem::replace(seen, raft.committed());
        let mut new = Vec::new();
        for index in before + 1..=raft.committed() {
            let term = raft.term_at(index);
            let entry = replica.logical.entry(index).ok_or(Broken::Committed)?;
            ensure(term == Some(entry.position.term), Broken::Committed)?;
            let Some(known) = self.committed.get_mut(index as usize - 1) else {
                self.committed.push(Commit {
                    entry: entry.clone(),
                    known_in: raft.term(),
                });
                new.push(entry.position);
                continue;
            };
            known.known_in = known.known_in.min(raft.term());
            ensure(known.entry == *entry, Broken::Committed)?;
        }
        Ok(new)
    }

    fn applies(&mut self, id: ReplicaId, entries: &[Entry]) -> Result<(), Broken> {
        let (applied, _) = self.progress.entry(id).or_default();
        for entry in entries {
            *applied += 1;
            let committed = self.committed.get(*applied as usize - 1);
            let is_same = committed.is_some_and(|committed| committed.entry == *entry);
            ensure(is_same, Broken::StateMachineSafety)?;
        }
        Ok(())
    }
}

fn logs_match(one: &Disk, other: &Disk) -> Result<(), Broken> {
    let both = one.entries.iter().zip(&other.entries);
    let last_same = both
        .clone()
        .rposition(|(one, other)| one.position == other.position);
    let mut before = both.take(last_same.map_or(0, |last| last + 1));
    ensure(before.all(|(one, other)| one == other), Broken::LogMatching)
}

/// A majority of disks must hold the entry: of those who vote where it was committed first, in both halves.
fn is_durable<'a>(
    position: Position,
    raft: &Raft,
    all: impl Iterator<Item = &'a Replica>,
) -> Result<(), Broken> {
    let holders = all.filter(|it| it.durable.holds(position));
    let holders: Vec<ReplicaId> = holders.map(Replica::id).collect();
    let is_held = has_quorum(raft.membership(), |id| holders.contains(&id));
    ensure(is_held, Broken::Durability)
}

/// Whether a majority, as this disk counts it, would grant its replica their votes by the disks as they are.
fn is_electable<'a>(
    disk: &Disk,
    id: ReplicaId,
    all: impl Iterator<Item = &'a Replica> + Clone,
) -> bool {
    let members = disk.membership();
    let grants = |voter: ReplicaId| {
        let voter = all.clone().find(|it| it.id() == voter);
        voter.is_some_and(|voter| disk.last() >= voter.durable.last())
    };
    is_voter(&members, id) && has_quorum(&members, grants)
}
