//! A group that has lost its majority for good: looked at, and given to the one replica that is left.
//!
//! A majority of the old group may have decided what this replica never heard of, so nothing here is Raft's: it is an
//! operator's decision. What makes it safe for everybody else is the new cluster id: whoever comes back of the old group
//! is refused by handshake and core, and so can neither vote, lead, nor follow in the new one (P59).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::{
    Base, Codec, Entry, EntryKind, HardState, Member, Membership, Position, ReplicaId, Restored,
    Role, Write,
};
use little_raft_wal::{Disk, Options, RealDisk, Rewrite, SnapshotStore};

use crate::builder::random;
use crate::driver::{newest_membership, term_at};
use crate::error::RecoverError;
use crate::timer;
use crate::wal::GROUP;

/// The operator's explicit word, without which no group is recovered; see [`recover_group`].
#[derive(Clone, Debug)]
#[must_use = "nothing is recovered before it is given to `recover_group`"]
pub struct Recovery {
    machine_at: Option<Position>,
    first_command: Option<Bytes>,
}

impl Recovery {
    /// Says that what only the lost members had may be lost, and that what the group had not committed yet may count.
    /// Stop all other members for good before you say so.
    pub fn accept_data_loss() -> Self {
        Self {
            machine_at: None,
            first_command: None,
        }
    }

    /// For durable machines: what [`StateMachine::durable`](crate::StateMachine::durable) says. The recovery is refused
    /// if the replica could not start from there afterwards.
    pub fn machine_at(mut self, position: Position) -> Self {
        self.machine_at = Some(position);
        self
    }

    /// What the recovered group applies first, once, on every replica that it ever has: so its state machine can tell
    /// what was before from what comes after. Part of the recovery: a crash leaves both or none.
    pub fn first_command(mut self, command: impl Into<Bytes>) -> Self {
        self.first_command = Some(command.into());
        self
    }
}

/// What a stopped replica remembers of its group: to tell which of several survivors knows most.
///
/// The best is the one with the greatest [`last`](Self::last): positions order by term, then by index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survivor {
    /// Which replica.
    pub replica: ReplicaId,
    /// Of which cluster.
    pub cluster: u64,
    /// The newest term it has seen.
    pub term: u64,
    /// Where its log ends. What the others acknowledged beyond is not here.
    pub last: Position,
    /// Up to which index it knows the log to be committed. More may be: all up to `last`.
    pub committed: u64,
    /// Its newest snapshot.
    pub snapshot: Option<Position>,
    /// The members, as far as it knows.
    pub membership: Membership,
    /// An unfinished write was found at the log's end, which the next start cuts off: it was never acknowledged.
    pub is_torn: bool,
    /// A recovery was cut short by a crash: the replica is `cluster`'s already, and the next start, or another
    /// [`recover_group`], does the rest.
    pub is_unfinished: bool,
}

/// A group that was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// What its survivor remembered before. All up to `survivor.last` counts as committed now.
    pub survivor: Survivor,
    /// The new cluster.
    pub cluster: u64,
    /// Its only member.
    pub member: Member,
}

/// Looks at the data directory of a stopped replica, and changes nothing; to compare survivors before one of them is
/// given to [`recover_group`].
///
/// # Errors
/// If there is no replica, it runs, or its log is damaged. Each error says what to do.
pub fn inspect_group(dir: impl AsRef<Path>) -> Result<Survivor, RecoverError> {
    Ok(Found::read(Around::here(), dir.as_ref())?.survivor)
}

/// Recovers a group that has lost its majority for good: makes the replica in the data directory `dir`, which must be
/// stopped, the only voter of a new cluster. Add members to it as to any other, once it runs.
///
/// Everything in its log counts as committed from then on. That is what may be wrong: what only the lost members had is
/// lost, also if it was acknowledged, and what was not committed yet may be applied. The old members can't come back:
/// the cluster is another, and they are refused. Empty their directories before you add them anew.
///
/// A crash at any step leaves the old cluster or the new one, and calling it again completes it. On a directory that was
/// recovered and has no other voter, it changes nothing.
///
/// ```no_run
/// use little_raft::{Recovery, inspect_group, recover_group};
///
/// # fn main() -> Result<(), little_raft::RecoverError> {
/// let survivor = inspect_group("little-raft-2")?;
/// println!("it has all up to {}; of several survivors, take the greatest", survivor.last);
/// let recovered = recover_group("little-raft-2", &Recovery::accept_data_loss())?;
/// println!("start replica {} as before; its cluster is {:016x} now", recovered.member.id, recovered.cluster);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is no replica, it runs, its log is damaged, it is no member of its group, or it is the only voter anyway.
/// Nothing was changed then. Each error says what to do.
pub fn recover_group(
    dir: impl AsRef<Path>,
    recovery: &Recovery,
) -> Result<Recovered, RecoverError> {
    recover_group_around(Around::here(), dir.as_ref(), recovery)
}

/// What a recovery finds around it: a simulator brings its own.
pub struct Around {
    /// Where the directory is.
    pub disk: Arc<dyn Disk>,
    /// What time it is, in nanoseconds since 1970.
    pub wall: u64,
    /// A random number, for the new cluster.
    pub random: u64,
}

impl Around {
    fn here() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            wall: timer::wall(),
            random: random(),
        }
    }
}

/// As [`recover_group`], anywhere.
///
/// # Errors
/// As there.
pub fn recover_group_around(
    around: Around,
    dir: &Path,
    recovery: &Recovery,
) -> Result<Recovered, RecoverError> {
    let found = Found::read(around, dir)?;
    if found.survivor.is_unfinished {
        return found.finish();
    }
    let own = found.own()?;
    if found.is_alone() {
        return match found.log.is_recovered() {
            true => Ok(found.recovered(own)),
            false => Err(RecoverError::Alone {
                replica: own.id,
                dir: found.dir,
            }),
        };
    }
    found.check_machine(recovery)?;
    found.rewrite(own, recovery)
}

/// A directory, locked, and what is in it.
struct Found {
    around: Around,
    dir: PathBuf,
    log: little_raft_wal::Survivor,
    restored: Restored,
    /// A received snapshot that the log doesn't reach: after a crash it is what the replica begins with.
    ahead: Option<Base>,
    survivor: Survivor,
}

impl Found {
    fn read(around: Around, dir: &Path) -> Result<Self, RecoverError> {
        let (dir, disk) = (dir.to_path_buf(), around.disk.clone());
        let read = little_raft_wal::Survivor::read(disk, &dir, Options::default())?;
        let Some(log) = read else {
            return Err(RecoverError::NoReplica { dir });
        };
        let identity = log.identity();
        let mut restored = log.groups().get(&GROUP).cloned().unwrap_or_default();
        if restored.base.membership.members.is_empty() {
            restored.base.membership = Membership::founders(identity.founders.iter().cloned());
        }
        let snapshot = newest_snapshot(&log.snapshots(GROUP), &restored)?;
        let ahead = snapshot
            .clone()
            .filter(|base| is_ahead(&restored, base.position));
        let membership = match &ahead {
            Some(base) => base.membership.clone(),
            None => newest_membership(&restored),
        };
        let base = ahead.as_ref().unwrap_or(&restored.base).position;
        let last = match &ahead {
            Some(base) => base.position,
            None => last(&restored),
        };
        let survivor = Survivor {
            replica: identity.replica,
            cluster: identity.cluster,
            term: restored.hard_state.term.max(last.term),
            last,
            committed: restored.hard_state.committed.clamp(base.index, last.index),
            snapshot: snapshot.map(|base| base.position),
            membership,
            is_torn: log.torn().is_some(),
            is_unfinished: log.is_unfinished(),
        };
        Ok(Self {
            around,
            dir,
            log,
            restored,
            ahead,
            survivor,
        })
    }

    fn own(&self) -> Result<Member, RecoverError> {
        let id = self.survivor.replica;
        match self.survivor.membership.member(id) {
            Some(member) if member.witness => Err(RecoverError::Witness {
                replica: id,
                dir: self.dir.clone(),
            }),
            Some(member) => Ok(Member {
                incarnation: Some(self.log.identity().incarnation),
                role: Some(Role::Voter),
                next_role: Some(Role::Voter),
                promote_when_caught_up: false,
                ..member.clone()
            }),
            None => Err(RecoverError::NotAMember {
                replica: id,
                dir: self.dir.clone(),
            }),
        }
    }

    fn is_alone(&self) -> bool {
        let membership = &self.survivor.membership;
        membership.voters().eq([self.survivor.replica])
    }

    fn recovered(self, member: Member) -> Recovered {
        Recovered {
            cluster: self.survivor.cluster,
            survivor: self.survivor,
            member,
        }
    }

    fn finish(self) -> Result<Recovered, RecoverError> {
        let (own, survivor) = (self.own()?, self.survivor);
        self.log.finish()?;
        Ok(Recovered {
            cluster: survivor.cluster,
            survivor,
            member: own,
        })
    }

    /// What a start would find wrong is said while it can still be undone.
    fn check_machine(&self, recovery: &Recovery) -> Result<(), RecoverError> {
        let begins_at = self.restored.base.position;
        let is_in_log = |at: Position| has(&self.restored, at) || self.survivor.last == at;
        let has_snapshot = self
            .survivor
            .snapshot
            .is_some_and(|at| at.index >= begins_at.index);
        match recovery.machine_at {
            Some(at) if !is_in_log(at) && !has_snapshot => Err(RecoverError::OtherMachine {
                machine_at: at,
                begins_at,
                last: self.survivor.last,
            }),
            _ => Ok(()),
        }
    }

    fn rewrite(self, own: Member, recovery: &Recovery) -> Result<Recovered, RecoverError> {
        let membership = Membership {
            version: self.survivor.membership.version + 1,
            members: vec![own.clone()],
            timing: self.survivor.membership.timing,
        };
        // Random: two survivors that are both recovered, by mistake, must not become one cluster.
        let drawn = self.around.random;
        let is_other = drawn != self.survivor.cluster;
        let cluster = if is_other { drawn } else { !drawn };
        let rewrite = Rewrite {
            cluster,
            founders: vec![Member {
                priority: own.priority,
                ..Member::voter(own.id, own.address.clone())
            }],
            writes: vec![(GROUP, self.alone(&membership, recovery))],
        };
        self.log.rewrite(rewrite)?;
        Ok(Recovered {
            survivor: self.survivor,
            cluster,
            member: own,
        })
    }

    /// As if the replica had been elected in a term of its own, had appended this and committed it.
    fn alone(&self, membership: &Membership, recovery: &Recovery) -> Write {
        let term = self.survivor.term + 1;
        let newest = self.restored.tail.last().map_or(0, |entry| entry.time);
        let time = newest.max(self.around.wall);
        let command = recovery.first_command.clone();
        let command = command.map(|command| (EntryKind::Command, command));
        let payloads = [(EntryKind::Membership, membership.to_bytes())].into_iter();
        let indexes = self.survivor.last.index + 1..;
        let entries = indexes.zip(payloads.chain(command));
        let entries: Vec<Entry> = entries
            .map(|(index, (kind, payload))| entry(Position::new(index, term), kind, time, payload))
            .collect();
        Write {
            number: 0,
            hard_state: HardState {
                term,
                vote: Some(self.survivor.replica),
                committed: self.survivor.last.index + entries.len() as u64,
            },
            base: self.ahead.clone().map(Box::new),
            entries: entries.into(),
        }
    }
}

/// Whether the log has this entry, or begins after it.
fn has(log: &Restored, at: Position) -> bool {
    term_at(log, at.index) == Some(at.term)
}

/// Whether a snapshot there is newer than the log, or contradicts it: received whole, and the log not begun after it yet.
fn is_ahead(log: &Restored, at: Position) -> bool {
    at.index >= log.base.position.index && !has(log, at)
}

/// Damaged ones are passed over, as a start does, unless the log doesn't reach them: then this replica is less than it
/// was.
fn newest_snapshot(
    snapshots: &SnapshotStore,
    log: &Restored,
) -> Result<Option<Base>, RecoverError> {
    let newest = snapshots.newest(Position::default())?;
    let found = newest.snapshot.map(|snapshot| snapshot.base().clone());
    let best = found.as_ref().map_or(0, |base| base.position.index);
    let passed_over = snapshots.list()?.into_iter().filter(|at| at.index > best);
    match newest.damaged.into_iter().next() {
        Some(damage) if passed_over.into_iter().any(|at| is_ahead(log, at)) => {
            Err(RecoverError::Damaged(damage.to_string()))
        }
        _ => Ok(found),
    }
}

fn last(log: &Restored) -> Position {
    let run = log.terms.last().unwrap_or(&log.base.position);
    Position::new(log.last, run.term)
}

/// One that nobody proposed.
pub(crate) fn entry(position: Position, kind: EntryKind, time: u64, payload: Bytes) -> Entry {
    Entry {
        position,
        kind,
        time,
        checksum: crc32c::crc32c(&payload),
        payload,
    }
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            replica,
            cluster,
            term,
            last,
            committed,
            ..
        } = self;
        write!(
            f,
            "replica {replica} of cluster {cluster:016x}: its log ends at {last}, is known to be committed up to \
             {committed}, and the newest term it has seen is {term}"
        )
    }
}
