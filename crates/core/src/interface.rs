//! What goes into [`Raft`](crate::Raft) and what comes out of it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::{Base, Codec, Entry, EntryKind, HardState, Message, Position, ReplicaId, Role};

/// What time it is, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes back, counted from any moment. All decisions use this one.
    pub monotonic: u64,
    /// The wall clock since 1970. Only stamped on entries; may jump.
    pub wall: u64,
}

/// How long a replica waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How often a leader shows that it is alive.
    pub heartbeat: Duration,
    /// The least time without a leader before a replica campaigns; each wait is drawn between once and twice this.
    pub election: Duration,
}

impl Default for Timing {
    /// 50 ms and 400 ms: right for one data centre.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election: Duration::from_millis(400),
        }
    }
}

/// One thing that happened. Give it to [`Raft::step`](crate::Raft::step).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed; what is due is done. At any moment, also a wrong one: waking too early changes nothing.
    Wake,
    /// A message arrived.
    Message(Message),
    /// What was sent to this peer last may not have arrived.
    Unreachable(ReplicaId),
    /// Append this command, here or at the leader. Answered in [`Outputs::proposed`].
    Propose {
        /// The caller's name for it.
        ticket: u64,
        /// What is proposed.
        proposal: Proposal,
    },
    /// Find the index that must be applied for a linearizable read. Answered in [`Outputs::reads`].
    Read {
        /// The caller's name for it.
        ticket: u64,
    },
    /// The [`Write`] of this number, and all before it, are durable.
    Flushed {
        /// The write's number.
        write: u64,
    },
    /// The state machine has applied all entries up to this index.
    Applied {
        /// The index.
        index: u64,
    },
    /// What an output [`Fetch`] asked for; no entries if they could not be read.
    Fetched {
        /// Who needs them.
        to: ReplicaId,
        /// The entries, from the first asked for, consecutive.
        entries: Vec<Entry>,
    },
    /// Use these timeouts from now on. Refused values change nothing: check with [`Timing::check`].
    SetTiming(Timing),
    /// A snapshot covers all up to this index; the log before it may go.
    Compact {
        /// The index; at most what is applied.
        index: u64,
    },
    /// A piece of the snapshot that [`Outputs::send_snapshot`] asked for is ready to be sent.
    SendPiece {
        /// The follower.
        to: ReplicaId,
        /// The piece.
        piece: crate::message::Snapshot,
    },
    /// A snapshot can't be sent on: it could not be made or read.
    SendFailed {
        /// The follower.
        to: ReplicaId,
        /// The transfer.
        transfer: u64,
    },
    /// How the storing of the piece in [`Outputs::pieces`] ended.
    PieceStored {
        /// Who sent it.
        from: ReplicaId,
        /// The transfer.
        transfer: u64,
        /// The next offset wanted, or why the transfer must end.
        outcome: PieceOutcome,
    },
    /// Whether this replica can take new entries; on false (a full disk), a leader refuses proposals and hands over.
    Accepting(bool),
    /// Hand leadership over, to this voter or to the one that is furthest. Nothing happens on a replica that does not lead.
    Transfer {
        /// The successor.
        to: Option<ReplicaId>,
    },
}

/// What is to become an entry, if the leader takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// What it asks for. Of kind [`EntryKind::Membership`], the payload is a list of [`Change`]s.
    pub kind: EntryKind,
    /// CRC-32C of the payload, made by the proposer's replica and kept end to end.
    pub checksum: u32,
    /// The command, or the encoded changes.
    pub payload: Bytes,
    /// When the leader may take it.
    pub conditions: Conditions,
}

impl Proposal {
    /// A command.
    pub fn command(checksum: u32, payload: Bytes) -> Self {
        let (kind, conditions) = (EntryKind::Command, Conditions::default());
        Self {
            kind,
            checksum,
            payload,
            conditions,
        }
    }

    /// Changes of the membership, all or none.
    pub fn changes(changes: &Vec<Change>) -> Self {
        let kind = EntryKind::Membership;
        Self {
            kind,
            ..Self::command(0, changes.to_bytes())
        }
    }
}

/// What must hold for a proposal to be appended; what is not given always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// The leader's term is this.
    pub leader_term: Option<u64>,
    /// The membership's version is this.
    pub members_version: Option<u64>,
    /// The entry's index is at most this.
    pub index_max: Option<u64>,
}

/// One change of a membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Somebody joins; who is to vote joins as a learner, and becomes a voter once it has caught up.
    Add {
        /// Its name, never used before.
        id: ReplicaId,
        /// Where its peers reach it.
        address: String,
        /// What it is to become.
        role: Role,
        /// Its priority as a leader.
        priority: u32,
        /// Whether it is a witness.
        witness: bool,
    },
    /// This member leaves.
    Remove(ReplicaId),
    /// This member gets this part, now.
    SetRole(ReplicaId, Role),
    /// This member is reached at this address.
    SetAddress(ReplicaId, String),
    /// This member has this priority as a leader.
    SetPriority(ReplicaId, u32),
    /// This member's data directory is this one (rule 13).
    Bind(ReplicaId, u64),
    /// All replicas have this timing.
    SetTiming(Timing),
}

/// Why a membership can't be changed like that. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeError {
    /// The change before, or the first entry of the leader's term, is not committed yet; try again.
    UnderWay,
    /// No such member.
    Unknown(ReplicaId),
    /// It is a member already.
    Known(ReplicaId),
    /// Another member is reached at this address.
    AddressInUse {
        /// The address.
        address: String,
        /// The member.
        by: ReplicaId,
    },
    /// Nobody would be left to vote and to lead: witnesses can't.
    NoVoters,
    /// Of those who would vote no majority is in contact: nothing could be committed.
    NoQuorum,
    /// Witnesses would vote, and of those who could lead none has caught up.
    NobodyToLead,
    /// It has not caught up, and could not vote on anything; it lacks so many entries.
    Lags(ReplicaId, u64),
    /// These timeouts can't work together.
    Timing(Timing),
    /// It is a witness, and never leads: it has no priority.
    Witness(ReplicaId),
    /// The list of changes can't be read.
    Unreadable,
}

/// How storing a received piece of a snapshot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceOutcome {
    /// Stored; this offset is wanted next.
    Stored(u64),
    /// It was the last, and the snapshot is whole, checked and durable. The log begins after it from now on.
    Complete(Base),
    /// It can't be used.
    Failed,
}

/// All that has to be done after some inputs. Drain with [`Raft::outputs`](crate::Raft::outputs).
///
/// The parts may be done at once and in any order among themselves, except where a field says what must come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Send these now. Whatever promises durability waits inside the core until [`Input::Flushed`] (rule 1), so
    /// none of these has to wait for `write`.
    pub messages: Vec<Message>,
    /// Make this durable, in the order of the writes' numbers, then report [`Input::Flushed`].
    pub write: Option<Write>,
    /// Replace the state machine's state by the snapshot at this base, before anything in `apply`; then report
    /// [`Input::Applied`]. It is the one last reported as [`PieceOutcome::Complete`].
    pub install: Option<Base>,
    /// Apply these, in order, then report [`Input::Applied`]: committed, and durable here.
    pub apply: Apply,
    /// What became of proposals, by ticket.
    pub proposed: Vec<(u64, Result<Position, Refusal>)>,
    /// Reads that may be served once the state machine has applied the index, by ticket.
    pub reads: Vec<(u64, Result<u64, Refusal>)>,
    /// Entries to read from storage for another replica that lags; answer each with [`Input::Fetched`].
    pub fetch: Vec<Fetch>,
    /// Snapshots to send; answer with [`Input::SendPiece`] for offset 0 (it may be empty, to ask how far the follower is
    /// with that content), then one for each offset in `send_piece`.
    pub send_snapshot: Vec<SendSnapshot>,
    /// The follower has stored all below `offset`: send the piece there.
    pub send_piece: Vec<SendPiece>,
    /// Transfers that are over, done or not.
    pub sent: Vec<Sent>,
    /// Received pieces to store; answer each with [`Input::PieceStored`].
    pub pieces: Vec<ReceivedPiece>,
    /// What an observer would want to know.
    pub events: Vec<Event>,
}

/// What must become durable, as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Rises by one with each write.
    pub number: u64,
    /// The hard state from now on.
    pub hard_state: HardState,
    /// Where the log begins from now on. An entry there with the same term keeps what follows it; else all goes.
    pub base: Option<Box<Base>>,
    /// These entries, consecutive; they supersede whatever stood at or above the first one's index.
    pub entries: Arc<[Entry]>,
}

/// What is to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Apply {
    /// Nothing.
    #[default]
    Nothing,
    /// These entries.
    Entries(Arc<[Entry]>),
    /// The entries from `first` to `last`: they are durable, and must be read back from storage.
    Stored {
        /// The first index.
        first: u64,
        /// The last index.
        last: u64,
    },
}

/// Entries wanted from storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Who needs them.
    pub to: ReplicaId,
    /// The first index.
    pub first: u64,
    /// The last index.
    pub last: u64,
    /// Enough after so many bytes; at least one entry is wanted in any case.
    pub bytes_max: usize,
}

/// A snapshot wanted by a follower, of the leader or of another follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSnapshot {
    /// The follower.
    pub to: ReplicaId,
    /// Names the transfer.
    pub transfer: u64,
    /// The least index that is of use: the leader's log reaches back there.
    pub index_min: u64,
}

/// A transfer that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The follower.
    pub to: ReplicaId,
    /// The transfer.
    pub transfer: u64,
    /// Why.
    pub end: TransferEnd,
}

/// Why a transfer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferEnd {
    /// It broke off. If what was sent is kept, the next transfer to this follower can go on with it.
    BrokenOff,
    /// The follower could not use what was sent: send it something else.
    Refused,
    /// The follower has it.
    Installed,
}

/// The next piece wanted by a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPiece {
    /// The follower.
    pub to: ReplicaId,
    /// The transfer.
    pub transfer: u64,
    /// Where the next piece begins, in bytes.
    pub offset: u64,
}

/// A piece of a snapshot that arrived, from the leader or a lender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedPiece {
    /// Who sent it.
    pub from: ReplicaId,
    /// The piece.
    pub piece: crate::message::Snapshot,
}

/// Why a proposal or a read was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No leader is known. Nothing was proposed; try again after the next election.
    NoLeader,
    /// Leadership is being handed over. Nothing was proposed; try again at once.
    Transferring,
    /// Too much is uncommitted. Nothing was proposed; try again later.
    Busy,
    /// The disk is full. Nothing was proposed; make room.
    DiskFull,
    /// One of its [`Conditions`] did not hold. Nothing was proposed.
    Condition,
    /// The membership can't be changed like that. Nothing was proposed.
    Change(ChangeError),
    /// The leader was lost before it answered: the proposal may or may not be applied later.
    Unknown,
    /// This replica is a witness, and has no state machine to answer with. Nothing was proposed; ask another.
    Witness,
}

/// The part a replica plays at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Listens to a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
}

/// Something an observer would want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Who leads, in which term, and our part in it, if any of these changed.
    Leadership {
        /// The term.
        term: u64,
        /// Its leader, if known.
        leader: Option<ReplicaId>,
        /// Our part.
        state: State,
    },
    /// We stopped leading by ourselves, and why.
    SteppedDown(StepDown),
    /// We are no longer a member: nobody will answer us again.
    Removed,
    /// The membership has us for a witness and we were started as none, or the other way round: we must not go on.
    Misfit,
    /// A message was not listened to, and why.
    Ignored {
        /// Who it came from.
        from: ReplicaId,
        /// The reason.
        reason: Stranger,
    },
}

/// Why a leader stepped down by itself (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// It heard no quorum for an election timeout.
    NoContact,
    /// A quorum without it has flushed for an election timeout what its own disk has not.
    SlowDisk,
    /// Nothing it sent was committed for five election timeouts.
    NoProgress,
    /// It is no longer a voter, and has handed over as well as it could.
    NotAVoter,
}

/// Why a message was not listened to (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It is for another cluster, group or replica.
    OtherAddress,
    /// The sender's data directory, or the one it believes to be ours, is another.
    OtherIncarnation,
    /// It is from before the sender's last restart.
    FormerBoot,
    /// Its term is beyond what elections could ever reach.
    Implausible,
}

/// What a replica remembers when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The hard state.
    pub hard_state: HardState,
    /// Where the log begins.
    pub base: Base,
    /// The first position of each run of equal terms above the base, in order.
    pub terms: Vec<Position>,
    /// The last index of the log; the base's, if nothing is above it.
    pub last: u64,
    /// The entries above the base that are memberships, in order.
    pub memberships: Vec<Entry>,
    /// The newest entries, consecutive up to `last`; as many as fit in memory, all others stay in storage.
    pub tail: Vec<Entry>,
}
