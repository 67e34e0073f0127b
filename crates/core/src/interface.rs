//! What goes into [`Raft`](crate::Raft) and what comes out of it.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::{Base, Entry, HardState, Message, Position, ReplicaId};

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
        /// CRC-32C of the payload.
        checksum: u32,
        /// The command.
        payload: Bytes,
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
        /// The follower that needs them.
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
    /// Entries to read from storage for a follower that lags; answer each with [`Input::Fetched`].
    pub fetch: Vec<Fetch>,
    /// Snapshots to send; answer with [`Input::SendPiece`] for offset 0, then one for each offset in `send_piece`.
    pub send_snapshot: Vec<SendSnapshot>,
    /// The follower has stored all below `offset`: send the piece there.
    pub send_piece: Vec<SendPiece>,
    /// Transfers that are over, done or not: what was kept for them can go.
    pub sent: Vec<SendSnapshot>,
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
    pub base: Option<Base>,
    /// These entries, consecutive; they supersede whatever stood at or above the first one's index.
    pub entries: Vec<Entry>,
}

/// What is to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Apply {
    /// Nothing.
    #[default]
    Nothing,
    /// These entries.
    Entries(Vec<Entry>),
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
    /// The follower that needs them.
    pub to: ReplicaId,
    /// The first index.
    pub first: u64,
    /// The last index.
    pub last: u64,
    /// Enough after so many bytes; at least one entry is wanted in any case.
    pub bytes_max: usize,
}

/// A snapshot wanted by a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSnapshot {
    /// The follower.
    pub to: ReplicaId,
    /// Names the transfer.
    pub transfer: u64,
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

/// A piece of a snapshot that arrived from the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedPiece {
    /// Who sent it.
    pub from: ReplicaId,
    /// The piece.
    pub piece: crate::message::Snapshot,
}

/// Why a proposal or a read was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The leader refused a forwarded proposal. Nothing was proposed.
    RefusedByLeader,
    /// The leader was lost before it answered: the proposal may or may not be applied later.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => {
                "no leader is known; nothing was proposed, try again after an election"
            }
            Self::Transferring => {
                "leadership is being handed over; nothing was proposed, try again"
            }
            Self::Busy => {
                "too much is waiting to be committed; nothing was proposed, try again later"
            }
            Self::DiskFull => "the leader's disk is full; nothing was proposed, make room on it",
            Self::RefusedByLeader => "the leader refused; nothing was proposed, try again",
            Self::Unknown => "the leader was lost before it answered; the outcome is unknown",
        })
    }
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
}

/// Why a message was not listened to (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It is for another cluster, group or replica.
    OtherAddress,
    /// The sender is no member.
    NotAMember,
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
    /// The newest entries, consecutive up to `last`; as many as fit in memory, all others stay in storage.
    pub tail: Vec<Entry>,
}
