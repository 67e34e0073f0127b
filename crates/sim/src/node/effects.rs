//! What a replica wants done, and what comes of it.

use little_raft_core::{
    Base, Entry, Event, Fetch, Input, Message, Position, ReceivedPiece, ReplicaId,
};

use crate::coverage::Situation;
use crate::machine::{Machine, Snapshot};
use crate::receiving::Sender;

/// Something that will happen to one boot of a replica.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Wake,
    Drain,
    Flushed,
    Applied,
    /// What was done is reported.
    Reported(Box<Input>),
    Fetched(Fetch),
    SnapshotTaken(Snapshot),
    Piece {
        to: ReplicaId,
        transfer: u64,
        offset: u64,
    },
    PieceStored(ReceivedPiece, Sender),
}

impl Due {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Wake => "wakes",
            Self::Drain => "drains",
            Self::Flushed => "has flushed",
            Self::Applied => "has applied",
            Self::Reported(_) => "reports",
            Self::Fetched(_) => "has fetched",
            Self::SnapshotTaken(_) => "has taken a snapshot",
            Self::Piece { .. } => "has a piece to send",
            Self::PieceStored(..) => "has stored a piece",
        }
    }
}

/// How a client's operation ended on the replica it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Applied(Position),
    NotApplied,
    Unknown,
    Read { index: u64, applied: u64 },
}

/// What a replica wants done, and what it did, for the checkers.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sends: Vec<Message>,
    pub(crate) later: Vec<(u64, Due)>,
    pub(crate) ended: Vec<(u64, Ending)>,
    /// The term before the first entry, and the entries.
    pub(crate) written: Option<(Option<u64>, Vec<Entry>)>,
    /// Where the log begins from now on.
    pub(crate) base: Option<Base>,
    pub(crate) applied: Vec<Entry>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) events: Vec<Event>,
    /// What is hard about it.
    pub(crate) reached: Vec<Situation>,
    /// All that the core wanted written was handed to the disk.
    pub(crate) is_drained: bool,
}
