//! What replicas say to each other: requests and replies in pairs, in one envelope.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::codec::{codec_enum, codec_struct};
use crate::{Base, Entry, Position, Proposal, Refusal, ReplicaId};

/// A message and all that says whether it may be listened to (rule 7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The cluster both sides belong to.
    pub cluster: u64,
    /// The group within it.
    pub group: u64,
    /// Who speaks.
    pub from: ReplicaId,
    /// Who is spoken to.
    pub to: ReplicaId,
    /// The speaker's data directory.
    pub from_incarnation: u64,
    /// The data directory the speaker believes to speak to, once it knows.
    pub to_incarnation: Option<u64>,
    /// Which start of the speaker's this is.
    pub boot: u64,
    /// The speaker's term.
    pub term: u64,
    /// What is said.
    pub body: Body,
}

/// How a message wants to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Small, and late means useless: votes, heartbeats, replies, reads. May overtake all others.
    Urgent,
    /// Entries, what finds out whether they arrived, and forwarded proposals: in the order in which they were sent.
    Bulk,
    /// Pieces of a snapshot; must never delay the others.
    Snapshot,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Asks for a vote, or whether one would be given.
    Vote(Vote),
    /// Answers a [`Vote`].
    VoteReply(VoteReply),
    /// Entries; without any, whether those sent before have arrived.
    Append(Append),
    /// The speaker still leads; does the one spoken to follow?
    Heartbeat(Heartbeat),
    /// Answers an [`Append`] or a [`Heartbeat`].
    AppendReply(AppendReply),
    /// A piece of a snapshot.
    Snapshot(Snapshot),
    /// Answers a [`Snapshot`] piece.
    SnapshotReply(SnapshotReply),
    /// Asks one that does not lead for a snapshot of this index or a later one.
    Borrow(u64),
    /// A piece of a snapshot, from one that does not lead.
    Lent(Snapshot),
    /// A proposal on its way to the leader.
    Forward(Forward),
    /// Answers a [`Forward`].
    ForwardReply(ForwardReply),
    /// Asks the leader how far one must have applied to read what is committed now.
    Read(Read),
    /// Answers a [`Read`].
    ReadReply(ReadReply),
    /// The leader's go-ahead: campaign now, without waiting (thesis, section 3.10).
    Campaign,
    /// The one spoken to is no member since this version of the membership, which is committed.
    Removed(u64),
    /// Entries that a candidate lacks, from a witness that can't vote for it.
    Supply(Supply),
}

/// Whether a campaign is a question or meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ballot {
    /// Would you vote for me in the next term? Binds nobody (thesis, section 9.6).
    Pre,
    /// Vote for me in this term.
    Real,
    /// The same on a leader's go-ahead: its stickiness does not protect it.
    Transfer,
}

/// RequestVote. The envelope's term is the speaker's; a [`Ballot::Pre`] asks about the one after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// Names this campaign; unique to the speaker.
    pub number: u64,
    /// What kind of vote is asked for.
    pub ballot: Ballot,
    /// The end of the speaker's log.
    pub last: Position,
}

/// The answer to [`Vote`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoteReply {
    /// The campaign's number.
    pub number: u64,
    /// The kind of vote that was asked for.
    pub ballot: Ballot,
    /// Whether it is given.
    pub granted: bool,
    /// For how long from now the voter helps no other candidate, in nanoseconds. Zero without leases (rule 8).
    pub promise: u64,
}

/// Tells one request from another; stamps order as the requests were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Names the request; unique to the speaker, and rising.
    pub number: u64,
    /// When it was sent, on the leader's monotonic clock (rule 6).
    pub sent: u64,
    /// The newest round of read confirmation it belongs to (rule 8).
    pub round: u64,
}

/// AppendEntries (Raft, figure 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// What the reply brings back.
    pub stamp: Stamp,
    /// The entry before `entries`.
    pub prev: Position,
    /// The leader's committed index.
    pub committed: u64,
    /// Of all up to here a witness need not keep payloads. Zero for others.
    pub settled: u64,
    /// The entries, consecutive. With none it stands behind all that was sent.
    pub entries: Arc<[Entry]>,
}

/// A heartbeat that says nothing about the follower's log: so it may overtake entries that are still on their way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// What the reply brings back.
    pub stamp: Stamp,
    /// The leader's committed index.
    pub committed: u64,
}

/// The answer to [`Append`] and [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendReply {
    /// That of the newest request it answers.
    pub stamp: Stamp,
    /// For how long from now the follower helps no candidate, in nanoseconds. Zero without leases (rule 8).
    pub promise: u64,
    /// What became of the entries.
    pub outcome: AppendOutcome,
}

/// What became of an [`Append`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The log equals the leader's up to this index, and is durable up to it (rule 1).
    Matched(u64),
    /// The log has no entry `prev`.
    Rejected {
        /// The index of the `prev` that was not there.
        prev: u64,
        /// The last place at or below `prev` whose term is not above `prev`'s: the logs part at or before it.
        hint: Position,
    },
    /// A heartbeat was heard; about the log there is nothing to say.
    Heard,
}

/// A piece of a snapshot. The first announces what it is of; each repeats it, so that any piece can be judged alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Names the transfer; unique to the speaker.
    pub transfer: u64,
    /// What the snapshot covers.
    pub base: Base,
    /// Which content it has: replicas need not write the same bytes for the same state.
    pub content: Content,
    /// Where in the snapshot `data` begins, in bytes.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
    /// Whether it is the last.
    pub done: bool,
    /// Who else has such a snapshot, if its sender would rather have them asked.
    pub elsewhere: Option<ReplicaId>,
}

/// Which content a snapshot has. Pieces of two contents are never put together, though their bases are the same; pieces
/// of one content are, whichever transfers brought them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Made while it is sent, for the transfer of this number: only its sender can go on with it.
    Made(u64),
    /// Kept by its sender. Whoever keeps a snapshot of the same base with the same length and checksum can go on with it.
    Kept {
        /// Its length in bytes.
        length: u64,
        /// Its checksum.
        checksum: u32,
    },
}

impl Snapshot {
    /// Whether it says only where the log begins, as is enough for a witness.
    pub(crate) fn is_bare(&self) -> bool {
        self.done && self.end() == 0
    }

    /// Where the next piece begins.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }
}

/// The answer to a [`Snapshot`] piece.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotReply {
    /// The transfer's number.
    pub transfer: u64,
    /// How it goes.
    pub outcome: SnapshotOutcome,
}

/// How a transfer goes on the receiver's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotOutcome {
    /// All below this offset is stored; go on there.
    Stored(u64),
    /// All of it is durable and in force: the log continues from it.
    Installed,
    /// It can't be used: damaged, or the receiver has no room. Start anew, later.
    Refused,
}

/// A proposal on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The origin's number for it: with the origin's boot, accepted only once and only rising.
    pub sequence: u64,
    /// What is proposed.
    pub proposal: Proposal,
}

/// The answer to a [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardReply {
    /// The proposal's number.
    pub sequence: u64,
    /// Where in the log it was put; nowhere, if it was refused and never will be.
    pub outcome: Result<Position, Refusal>,
}

/// Asks for a read index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// Names the question; unique to the speaker.
    pub number: u64,
}

/// The answer to [`Read`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadReply {
    /// The question's number.
    pub number: u64,
    /// The index that must be applied before the read.
    pub index: u64,
}

/// Entries of a log that is more up to date than a candidate's. The candidate may take them for its own: whatever is
/// committed is in that log, or never was in the candidate's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supply {
    /// The end of the speaker's log.
    pub last: Position,
    /// The entry before `entries`.
    pub prev: Position,
    /// The entries, consecutive.
    pub entries: Arc<[Entry]>,
}

impl Message {
    /// How it wants to travel.
    pub fn class(&self) -> Class {
        match &self.body {
            Body::Append(_) | Body::Forward(_) | Body::Supply(_) => Class::Bulk,
            Body::Snapshot(_) | Body::Lent(_) => Class::Snapshot,
            _ => Class::Urgent,
        }
    }

    /// About how many bytes it takes on the wire.
    pub fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Append(append) => append.entries.iter().map(Entry::bytes).sum(),
            Body::Supply(supply) => supply.entries.iter().map(Entry::bytes).sum(),
            Body::Forward(forward) => forward.proposal.payload.len(),
            Body::Snapshot(piece) | Body::Lent(piece) => {
                piece.data.len() + 64 * piece.base.membership.members.len()
            }
            _ => 0,
        };
        Self::OVERHEAD_BYTES + body
    }

    /// What a message takes at most beside entries, payloads and pieces.
    pub const OVERHEAD_BYTES: usize = 256;

    /// The version of this layout; the first byte of every encoded message.
    pub const VERSION: u8 = 1;
}

codec_struct! {
    Message after Self::VERSION {
        cluster, group, from, to, from_incarnation, to_incarnation, boot, term, body
    }
    Stamp { number, sent, round }
    Vote { number, ballot, last }
    VoteReply { number, ballot, granted, promise }
    Append { stamp, prev, committed, settled, entries }
    Heartbeat { stamp, committed }
    AppendReply { stamp, promise, outcome }
    Snapshot { transfer, base, content, offset, data, done, elsewhere }
    SnapshotReply { transfer, outcome }
    Forward { sequence, proposal }
    ForwardReply { sequence, outcome }
    Read { number }
    ReadReply { number, index }
    Supply { last, prev, entries }
}

codec_enum! {
    Ballot as "ballot" { Pre = 0, Real = 1, Transfer = 2 }
    AppendOutcome as "append outcome" { Matched(index) = 0, Rejected { prev, hint } = 1, Heard = 2 }
    Content as "snapshot content" { Made(transfer) = 0, Kept { length, checksum } = 1 }
    SnapshotOutcome as "snapshot outcome" { Stored(offset) = 0, Installed = 1, Refused = 2 }
    Body as "message kind" {
        Vote(vote) = 1, VoteReply(reply) = 2, Append(append) = 3, AppendReply(reply) = 4,
        Snapshot(piece) = 5, SnapshotReply(reply) = 6, Forward(forward) = 7, ForwardReply(reply) = 8,
        Read(read) = 9, ReadReply(reply) = 10, Campaign = 11, Removed(version) = 12,
        Heartbeat(heartbeat) = 13, Supply(supply) = 14, Borrow(index) = 15, Lent(piece) = 16,
    }
}
