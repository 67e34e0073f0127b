//! A snapshot that arrives in pieces.

use little_raft_core::message::{self, Content};
use little_raft_core::{Base, ReceivedPiece, ReplicaId};

use crate::coverage::Situation;
use crate::machine::Snapshot;

/// What has arrived of it so far.
#[derive(Debug)]
pub(crate) struct Receiving {
    base: Base,
    content: Content,
    /// The sender and transfer of the newest piece.
    by: (ReplicaId, u64),
    data: Vec<u8>,
}

/// Who sent a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Leader,
    Lender,
}

/// Who sent pieces since a snapshot was whole: whether a lender was among them, and the newest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Senders {
    was_lent: bool,
    newest: Option<Sender>,
}

impl Senders {
    pub(crate) fn add(&mut self, sender: Sender) {
        self.was_lent |= sender == Sender::Lender;
        self.newest = Some(sender);
    }

    /// A snapshot is whole.
    pub(crate) fn end(&mut self) -> Option<Situation> {
        let Self { was_lent, newest } = std::mem::take(self);
        match newest {
            Some(Sender::Lender) => Some(Situation::Lent),
            Some(Sender::Leader) if was_lent => Some(Situation::LenderLost),
            _ => None,
        }
    }
}

impl Receiving {
    pub(crate) fn begin(received: &ReceivedPiece) -> Self {
        Self {
            base: received.piece.base.clone(),
            content: received.piece.content,
            by: (received.from, received.piece.transfer),
            data: Vec::new(),
        }
    }

    pub(crate) fn is_of(&self, piece: &message::Snapshot) -> bool {
        (&self.base, self.content) == (&piece.base, piece.content)
    }

    /// Whether the piece goes on with what another transfer began, or another sender.
    pub(crate) fn resumed_by(&self, received: &ReceivedPiece) -> Option<Situation> {
        let (from, transfer) = self.by;
        let is_more = !self.data.is_empty() && self.is_of(&received.piece);
        match is_more && (received.from, received.piece.transfer) != (from, transfer) {
            true if received.from != from => Some(Situation::ResumedElsewhere),
            true => Some(Situation::Resumed),
            false => None,
        }
    }

    /// How much has arrived: where the next piece begins.
    pub(crate) fn stored(&self) -> u64 {
        self.data.len() as u64
    }

    /// Takes the piece if it is the next; with the last one, gives the whole.
    pub(crate) fn take(&mut self, received: &ReceivedPiece) -> Option<Snapshot> {
        self.by = (received.from, received.piece.transfer);
        let is_next = self.stored() == received.piece.offset;
        if is_next {
            self.data.extend_from_slice(&received.piece.data);
        }
        (is_next && received.piece.done).then(|| Snapshot {
            base: self.base.clone(),
            data: std::mem::take(&mut self.data).into(),
        })
    }
}
