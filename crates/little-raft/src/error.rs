//! What can go wrong, by operation, and what the caller can do next.

use std::io;
use std::sync::Arc;

use little_raft_core::{ChangeError, ConfigError, Refusal, ReplicaId};
use thiserror::Error;

use crate::pending::Abandoned;

/// How a proposal ended, if it was not applied here. All but [`Unknown`](Self::Unknown) are definite: the command
/// was not applied by this attempt and never will be (rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader was found within the proposal's time. Nothing was proposed; try again when a majority is up.
    #[error("no leader was found in time; nothing was proposed, try again once a majority is up")]
    NoLeader,
    /// Too much is waiting. Nothing was proposed; try again later.
    #[error("too much is waiting already; nothing was proposed, try again later")]
    Busy,
    /// The leader's disk is full. Nothing was proposed; make room, or try again after another replica leads.
    #[error("the leader's disk is full; nothing was proposed, make room on it")]
    DiskFull,
    /// The command does not fit into a message.
    #[error("the command has {bytes} bytes, at most {bytes_max} are allowed; nothing was proposed")]
    TooLarge {
        /// The command's size.
        bytes: usize,
        /// The largest size allowed.
        bytes_max: usize,
    },
    /// One of its conditions did not hold when it reached the leader. Nothing was proposed.
    #[error("a condition of the proposal did not hold; nothing was proposed")]
    ConditionFailed,
    /// Another leader's entry was committed in its place. Propose it again.
    #[error(
        "a new leader replaced it before it was committed; it was not applied, propose it again"
    )]
    NotApplied,
    /// The group does not know this session, or has forgotten it because others were used since. This attempt was not
    /// applied; whether an earlier one was can't be told any more.
    #[error(
        "session {session} has expired or was never registered; this attempt was not applied, register another"
    )]
    SessionExpired {
        /// The session.
        session: u64,
    },
    /// The client has said that it knows the outcome, or the session has had too many open commands since: the response
    /// is not kept any more. This attempt was not applied; an earlier one may have been.
    #[error(
        "command {number} of the session is settled, its response is not kept any more; this attempt was not applied"
    )]
    Settled {
        /// The command's number.
        number: u64,
    },
    /// Another command was proposed under this number before. This one was not applied.
    #[error(
        "number {number} of the session stands for another command; this one was not applied, give it its own"
    )]
    NumberTaken {
        /// The number.
        number: u64,
    },
    /// The state machine does not say how to keep responses. Nothing was proposed.
    #[error(
        "the state machine has no `response_codec`, so that retries could not be answered; nothing was proposed"
    )]
    NoSessions,
    /// This replica is a witness, without a state machine that could answer. Nothing was proposed; ask another replica.
    #[error(
        "this replica is a witness, without a state machine; nothing was proposed, ask a full replica"
    )]
    Witness,
    /// The replica has stopped. Nothing was proposed.
    #[error("the replica has stopped; nothing was proposed, its status says why")]
    Stopped,
    /// It may have been applied, or may yet be: the replica stopped, lost touch with the leader, or was overtaken by
    /// a snapshot before it learned the outcome. Look at the state before proposing it again.
    #[error("the outcome is unknown: it may have been applied, or may yet be")]
    Unknown,
}

impl ProposeError {
    /// Whether the command may have been applied in spite of the error.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

impl From<Refusal> for ProposeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoLeader | Refusal::Transferring => Self::NoLeader,
            Refusal::DiskFull => Self::DiskFull,
            Refusal::Busy => Self::Busy,
            Refusal::Condition => Self::ConditionFailed,
            Refusal::Witness => Self::Witness,
            // A refusal that this version does not know promises nothing.
            _ => Self::Unknown,
        }
    }
}

impl Abandoned for ProposeError {
    fn abandoned() -> Self {
        Self::Unknown
    }
}

/// Why a read gave nothing. It can always be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader confirmed it within the proposal timeout.
    #[error("no leader confirmed the read in time; try again once a majority is up")]
    NoLeader,
    /// The index was not applied here within the proposal timeout: this replica lags, or no such index exists yet.
    #[error(
        "index {index} was not applied here in time; this replica lags, or the index is not one of this group's"
    )]
    NotReached {
        /// The index.
        index: u64,
    },
    /// This replica is a witness, without a state machine that could be read; ask another replica.
    #[error("this replica is a witness, without a state machine; ask a full replica")]
    Witness,
    /// Too much is waiting.
    #[error("too much is waiting already; try again later")]
    Busy,
    /// The replica has stopped.
    #[error("the replica has stopped; its status says why")]
    Stopped,
    /// The closure panicked. The replica goes on.
    #[error("the closure of this read panicked")]
    Panicked,
}

impl Abandoned for ReadError {
    fn abandoned() -> Self {
        Self::Stopped
    }
}

/// Why leadership can't go to a replica. Nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// It is a witness.
    #[error("replica {id} is a witness and never leads; name a voter that is none")]
    Witness {
        /// The replica.
        id: ReplicaId,
    },
    /// It does not vote, as far as this replica knows.
    #[error("replica {id} is no voter of this group and can't lead; name one, or promote it first")]
    NotAVoter {
        /// The replica.
        id: ReplicaId,
    },
}

/// Why a group's members were not changed. All but [`Unknown`](Self::Unknown) and
/// [`NotCaughtUp`](Self::NotCaughtUp) are definite: nothing was changed and nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembersError {
    /// No leader was found in time.
    #[error("no leader was found in time; nothing was changed, try again once a majority is up")]
    NoLeader,
    /// Too much is waiting.
    #[error("too much is waiting to be committed; nothing was changed, try again later")]
    Busy,
    /// The leader's disk is full.
    #[error("the leader's disk is full; nothing was changed, make room on it")]
    DiskFull,
    /// Another change was under way all the time.
    #[error(
        "another change of members is still under way; nothing was changed, try again after it"
    )]
    UnderWay,
    /// The membership has another version than was expected.
    #[error(
        "the membership is no longer at version {expected}; nothing was changed, look at it again"
    )]
    OtherVersion {
        /// The version that was expected.
        expected: u64,
    },
    /// It can't be changed like that.
    #[error("{}; nothing was changed", describe(.0))]
    Refused(ChangeError),
    /// It was changed, but these have not caught up in time: they become voters once they have.
    #[error("{} joined, but did not catch up in time: it votes once it has; remove it if it never will", list(.members))]
    NotCaughtUp {
        /// Who.
        members: Vec<ReplicaId>,
    },
    /// The replica has stopped.
    #[error("the replica has stopped; nothing was changed, its status says why")]
    Stopped,
    /// The leader was lost before it answered, or the replica stopped: it may have been changed, or may yet be.
    #[error("the outcome is unknown: look at the members before you try again")]
    Unknown,
}

impl Abandoned for MembersError {
    fn abandoned() -> Self {
        Self::Unknown
    }
}

fn describe(error: &ChangeError) -> String {
    match error {
        ChangeError::UnderWay => "another change of members is under way".into(),
        ChangeError::Unknown(id) => format!("replica {id} is no member; name one that is"),
        ChangeError::Known(id) => {
            format!("replica {id} is a member already; give a new one an id that was never used")
        }
        ChangeError::AddressInUse { address, by } => {
            format!("{address} is the address of replica {by}; every member needs its own")
        }
        ChangeError::NoQuorum => {
            "most of those who would vote are out of contact; bring them back, or remove them first"
                .into()
        }
        ChangeError::NobodyToLead => {
            "of those who would vote, all but witnesses lag; wait until a full replica has caught up"
                .into()
        }
        ChangeError::NoVoters => {
            "nobody would be left to vote and lead; keep a voter that is no witness, or add one first"
                .into()
        }
        ChangeError::Lags(id, entries) => {
            format!("replica {id} lacks {entries} entries; promote it once it has caught up")
        }
        ChangeError::Witness(id) => {
            format!("replica {id} is a witness and never leads; give a priority to a full replica")
        }
        ChangeError::Timing(timing) => ConfigError::Timing(*timing).to_string(),
        _ => "the changes can't be read: they come from another version".into(),
    }
}

fn list(ids: &[ReplicaId]) -> String {
    let named = ids.iter().map(|id| format!("replica {id}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Why a replica could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The members don't include this replica.
    #[error("replica {id} is not among the members; add it to `members`")]
    NotAMember {
        /// The replica.
        id: ReplicaId,
    },
    /// A member is named twice, or has no valid id.
    #[error(
        "member {id} is named twice or is not above zero; every replica needs an id of its own"
    )]
    BadMember {
        /// The member.
        id: ReplicaId,
    },
    /// All members are witnesses.
    #[error(
        "all members are witnesses, and nobody could lead; leave one out of `witnesses`, better two"
    )]
    NobodyToLead,
    /// To its group it is a witness.
    #[error(
        "replica {id} is a witness of its group, without a state machine; start it with `Witness`"
    )]
    IsWitness {
        /// The replica.
        id: ReplicaId,
    },
    /// To its group it is no witness.
    #[error(
        "replica {id} is no witness of its group; start it with its state machine, or name it in `witnesses` on every \
         replica of a new group"
    )]
    NoWitness {
        /// The replica.
        id: ReplicaId,
    },
    /// None of the members of the group to join has answered.
    #[error("no member of the group to join has answered: {0}; is one up at the addresses given?")]
    NobodyToJoin(String),
    /// The core refuses the configuration.
    #[error("{0}")]
    Config(ConfigError),
    /// The storage can't be opened or used.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The cluster can't be reached: the port is in use, say.
    #[error("the cluster could not be started: {0}")]
    Cluster(io::Error),
    /// The state machine could not be restored.
    #[error("the state machine could not be restored: {0}")]
    Machine(io::Error),
    /// A snapshot is missing that the log continues from.
    #[error("{0}")]
    Damaged(String),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// A default part is needed that this build left out.
    #[error("this build has no {0}; enable that feature, or give the builder one of your own")]
    LeftOut(&'static str),
}

/// What went wrong in a [`Storage`](crate::Storage).
#[derive(Clone, Debug, Error)]
pub enum StorageError {
    /// There is no room. Nothing was written; trying again may succeed.
    #[error("no space is left: {0}")]
    NoSpace(Arc<str>),
    /// Anything else. Nothing more can be trusted to reach the disk: the replica stops (rule 2).
    #[error("{0}")]
    Fatal(Arc<str>),
}

impl StorageError {
    /// A fatal error that says what happened, to what, and what to do.
    pub fn fatal(text: impl ToString) -> Self {
        Self::Fatal(text.to_string().into())
    }

    /// No room, and where.
    pub fn no_space(text: impl ToString) -> Self {
        Self::NoSpace(text.to_string().into())
    }
}

/// Why a group was not recovered or restored, or its survivor not looked at. Nothing was changed, unless the storage failed
/// on the way: then calling it again goes on.
#[cfg(feature = "wal")]
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// There is none.
    #[error("{} holds no replica; name the data directory of one that has run", dir.display())]
    NoReplica {
        /// Where it was looked for.
        dir: std::path::PathBuf,
    },
    /// It is no member of its group, as far as it knows.
    #[error(
        "replica {replica} in {} is no member of its group, or has not heard of it yet; recover one that is",
        dir.display()
    )]
    NotAMember {
        /// The replica.
        replica: ReplicaId,
        /// Its data directory.
        dir: std::path::PathBuf,
    },
    /// It has no state.
    #[error(
        "replica {replica} in {} is a witness, without a state that a group could go on from; recover a full replica",
        dir.display()
    )]
    Witness {
        /// The replica.
        replica: ReplicaId,
        /// Its data directory.
        dir: std::path::PathBuf,
    },
    /// It has no majority to lose.
    #[error(
        "replica {replica} in {} is the only voter of its group already; there is nothing to recover, start it",
        dir.display()
    )]
    Alone {
        /// The replica.
        replica: ReplicaId,
        /// Its data directory.
        dir: std::path::PathBuf,
    },
    /// The state machine is where the log can't go on from.
    #[error(
        "the state machine is at {machine_at}, from where this replica's log, which begins after {begins_at} and ends at \
         {last}, can't go on; recover another replica, or restore a backup"
    )]
    OtherMachine {
        /// What the machine has applied.
        machine_at: little_raft_core::Position,
        /// Where the log begins.
        begins_at: little_raft_core::Position,
        /// Where it ends.
        last: little_raft_core::Position,
    },
    /// A restored group begins with what is restored and nothing else.
    #[error("{} exists already; name a directory that is to be made", dir.display())]
    Exists {
        /// The directory.
        dir: std::path::PathBuf,
    },
    /// What was flushed is not there any more.
    #[error("{0}")]
    Damaged(String),
    /// The directory can't be used: another process has it, a newer version wrote it, or the disk refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(feature = "wal")]
impl From<little_raft_wal::OpenError> for RecoverError {
    fn from(error: little_raft_wal::OpenError) -> Self {
        match error {
            little_raft_wal::OpenError::Damaged(damage) => Self::Damaged(damage.to_string()),
            other => Self::Storage(StorageError::fatal(other)),
        }
    }
}

#[cfg(feature = "wal")]
impl From<little_raft_wal::SnapshotError> for RecoverError {
    fn from(error: little_raft_wal::SnapshotError) -> Self {
        Self::Storage(error.into())
    }
}

/// Why a replica no longer runs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StopReason {
    /// [`Replica::stop`](crate::Replica::stop) was called, or the last handle dropped.
    #[error("it was asked to stop")]
    Requested,
    /// It is no longer a member of its group.
    #[error(
        "it was removed from its group: its data is of no more use, and it must not be started again"
    )]
    Removed,
    /// It has joined a group that has it for a witness, and was started with a state machine, or the other way round.
    #[error(
        "its group has it for a witness and it was started with a state machine, or the other way round: \
         empty its data directory and start it as its group has it"
    )]
    Misfit,
    /// Its log or a snapshot could not be written or read.
    #[error("its storage failed: {0}")]
    Storage(Arc<str>),
    /// The state machine reported an error.
    #[error("its state machine failed: {0}")]
    Machine(Arc<str>),
    /// Its state machine is not what a majority's is.
    #[error(
        "at index {index} its state was not the same as that of a majority: the state machine is not deterministic, or memory is damaged; \
         if it happens again once started anew, remove this replica and add a new one"
    )]
    Diverged {
        /// Where the states were compared.
        index: u64,
    },
    /// Something panicked.
    #[error("a panic: {0}")]
    Panic(Arc<str>),
}

impl StopReason {
    /// Whether it stopped because something broke, rather than because it was asked to or removed.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Requested | Self::Removed)
    }
}

impl From<StorageError> for StopReason {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string().into())
    }
}
