//! What is known from outside about all that happened before, and what must hold of it after every step.

use std::collections::{BTreeMap, BTreeSet};

use little_raft_core::{Base, Entry, EntryKind, Position, Raft, ReplicaId, State};

use crate::disk::Disk;
use crate::machine::Machine;
use crate::quorum::{has_quorum, is_voter};
use crate::reads::Reads;
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
    /// A read misses what was committed when it was asked for, or sees what is not (thesis, section 6.4).
    Reads,
    /// A snapshot, or where a log begins, is not what was committed up to there (Raft, section 7).
    Snapshots,
    /// An assertion of the core.
    Panic,
}

impl Broken {
    /// All there are, with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::ElectionSafety, "election safety"),
        (Self::LogMatching, "log matching"),
        (Self::LeaderCompleteness, "leader completeness"),
        (Self::Committed, "committed"),
        (Self::Durability, "durability"),
        (Self::StateMachineSafety, "state machine safety"),
        (Self::Reads, "freshness of reads"),
        (Self::Snapshots, "snapshots"),
        (Self::Panic, "no panic"),
    ];
}

pub(crate) fn ensure(holds: bool, otherwise: Broken) -> Result<(), Broken> {
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
    pub(crate) reads: Reads,
    pub(crate) has_installed: bool,
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

    /// What a replica knew before it was killed is gone, but for its snapshot, up to this index.
    pub(crate) fn crashed(&mut self, id: ReplicaId, saved: u64) {
        self.progress.insert(id, (saved, 0));
        self.reads.crashed(id);
    }

    /// A client asks for a read.
    pub(crate) fn read(&mut self, ticket: u64, at: ReplicaId) {
        self.reads.asked(ticket, at, self.committed.len() as u64);
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
        self.begins(replica)?;
        self.installs(replica.id(), effects.installed.as_ref())?;
        self.applies(replica.id(), &effects.applied)?;
        let committed = self.committed.len() as u64;
        self.reads.answered(replica, &effects.reads, committed)
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
        let begins_at = raft.base().index;
        let has = |it: Position| it.index < begins_at || raft.term_at(it.index) == Some(it.term);
        ensure(earlier.all(has), Broken::LeaderCompleteness)
    }

    /// The positions that this replica has committed before anybody else.
    fn commits(&mut self, replica: &Replica) -> Result<Vec<Position>, Broken> {
        let raft = &replica.raft;
        let (_, seen) = self.progress.entry(replica.id()).or_default();
        ensure(raft.committed() >= *seen, Broken::Committed)?;
        let before = std::mem::replace(seen, raft.committed());
        let mut new = Vec::new();
        for index in before + 1..=raft.committed() {
            // Where the log begins is looked at by itself.
            if index <= raft.base().index && index <= self.committed.len() as u64 {
                continue;
            }
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

    /// A log begins where it may, and knows who belonged to the group there.
    fn begins(&self, replica: &Replica) -> Result<(), Broken> {
        let base = &replica.logical.base;
        match base.position.index {
            0 => Ok(()),
            _ => self.is_committed(base),
        }
    }

    fn is_committed(&self, base: &Base) -> Result<(), Broken> {
        let upto = self.committed.get(..base.position.index as usize);
        let upto = upto.ok_or(Broken::Snapshots)?;
        let last = upto.last().map(|commit| commit.entry.position);
        ensure(last == Some(base.position), Broken::Snapshots)?;
        let mut memberships = upto.iter().rev();
        let newest = memberships.find_map(|commit| commit.entry.membership());
        let is_same = newest.is_none_or(|newest| newest == base.membership);
        ensure(is_same, Broken::Snapshots)
    }

    /// Exactly what was committed up to there is in it.
    fn installs(&mut self, id: ReplicaId, installed: Option<&Machine>) -> Result<(), Broken> {
        let Some(installed) = installed else {
            return Ok(());
        };
        self.is_committed(&installed.at)?;
        let index = installed.at.position.index;
        let mut expected = Machine::new(installed.at.membership.clone());
        let upto = self.committed.iter().take(index as usize);
        upto.for_each(|commit| expected.apply(&commit.entry));
        ensure(expected.digest == installed.digest, Broken::Snapshots)?;
        self.has_installed = true;
        self.progress.entry(id).or_default().0 = index;
        Ok(())
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
    let first = one.base.position.index.max(other.base.position.index) + 1;
    let last = one.last().index.min(other.last().index);
    let both = (first..=last).filter_map(|index| Some((one.entry(index)?, other.entry(index)?)));
    let both: Vec<(&Entry, &Entry)> = both.collect();
    let last_same = both
        .iter()
        .rposition(|(one, other)| one.position == other.position);
    let mut before = both.iter().take(last_same.map_or(0, |last| last + 1));
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
