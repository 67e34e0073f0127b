//! The words everything else is said in: who, where in the log, what is remembered.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::Timing;

/// No group gets to a term, an index or a version beyond this: whoever says so lies.
pub(crate) const PLAUSIBLE_MAX: u64 = 1 << 62;

/// Names one replica of a group, for as long as the group lives.
///
/// ```
/// # use little_raft_core::ReplicaId;
/// assert_eq!(ReplicaId::from(7).to_string(), "7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl From<u64> for ReplicaId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the log together with the term of the entry there, written `5@2`.
///
/// Positions order like the logs that end in them: by term, then by index (Raft, section 5.4.1).
///
/// ```
/// # use little_raft_core::Position;
/// let (long, fresh) = (Position::new(9, 1), Position::new(3, 2));
/// assert!(fresh > long);
/// assert_eq!(fresh.to_string(), "3@2");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The term in which a leader appended the entry.
    pub term: u64,
    /// The entry's index; the first entry has index 1, and 0 is the place before it.
    pub index: u64,
}

impl Position {
    /// The position at `index` of `term`.
    pub const fn new(index: u64, term: u64) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry asks of the replicas that apply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a leader opens its term with it, so that earlier entries can commit (Raft, section 8).
    Noop,
    /// The payload is a command for the state machine.
    Command,
    /// The payload is a [`Membership`], in force from here on (Raft, section 6).
    Membership,
    /// The payload is several commands, applied one after the other with nothing between them.
    Commands,
    /// The payload is about a session, whose commands are applied once however often they are retried (Raft, section 8).
    Session,
    /// The payload is about digests of the state machines, which replicas compare.
    Digest,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it asks for.
    pub kind: EntryKind,
    /// The leader's wall clock when it appended the entry, in nanoseconds since 1970; never goes back along the log.
    pub time: u64,
    /// CRC-32C of the payload, made by the proposer's replica and kept end to end.
    pub checksum: u32,
    /// The command, opaque to the library.
    pub payload: Bytes,
}

impl Entry {
    /// The bytes this entry counts for in every budget: its payload and a flat charge for the rest.
    pub fn bytes(&self) -> usize {
        self.payload.len() + Self::OVERHEAD_BYTES
    }

    /// The flat charge for an entry beside its payload; also at least what its encoding adds.
    pub const OVERHEAD_BYTES: usize = 48;
}

/// What must be durable besides entries (Raft, figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// An index known to be committed. Promises nothing: it rides along to make restarts quick.
    pub committed: u64,
}

/// A member's part in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Votes and counts.
    Voter,
    /// Receives the log; never votes, never counts.
    Learner,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub id: ReplicaId,
    /// The identity of its data directory, once known.
    pub incarnation: Option<u64>,
    /// Where its peers reach it, in the cluster's own notation (`host:port` for TCP).
    pub address: String,
    /// Its part today; none, while it is only about to join.
    pub role: Option<Role>,
    /// The part it will have when the change under way is complete; none, if it leaves. Without a change the same as
    /// `role`.
    pub next_role: Option<Role>,
    /// Whether a learner becomes a voter by itself once it has caught up.
    pub promote_when_caught_up: bool,
    /// A leader hands over to a voter of a higher priority that has caught up.
    pub priority: u32,
    /// Whether it has no state machine, and keeps payloads only until full replicas have them: as a voter it counts
    /// wherever voters do, and it never leads. Said when it joins, and never changed.
    pub witness: bool,
}

impl Member {
    /// A voter at `address` whose data directory is not known yet.
    pub fn voter(id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            incarnation: None,
            address: address.into(),
            role: Some(Role::Voter),
            next_role: Some(Role::Voter),
            promote_when_caught_up: false,
            priority: 0,
            witness: false,
        }
    }

    /// The same for a witness.
    pub fn witness(id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        Self {
            witness: true,
            ..Self::voter(id, address)
        }
    }
}

/// Who belongs to the group, whose majorities decide, and what all have agreed on beside the commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Rises by one with every change.
    pub version: u64,
    /// Everybody, in rising order of their ids.
    pub members: Vec<Member>,
    /// The timing of all replicas; each uses its own while there is none.
    pub timing: Option<Timing>,
}

/// Where a replica's log begins: all up to `position` is covered by a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base {
    /// The last entry the snapshot covers.
    pub position: Position,
    /// The membership in force there.
    pub membership: Membership,
}

/// Who a replica is, across restarts; kept beside its log and compared before anything else is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which cluster: a hash of its token and founders.
    pub cluster: u64,
    /// Which replica of it.
    pub replica: ReplicaId,
    /// Which data directory: drawn at random when the directory is made, never zero.
    pub incarnation: u64,
    /// Which start: 1 at the first, and one more at each.
    pub boot: u64,
    /// The members the group began with.
    pub founders: Vec<Member>,
}
