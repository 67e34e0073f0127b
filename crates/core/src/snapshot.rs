//! How stragglers catch up when the log no longer reaches back to them (Raft, section 7).
//!
//! Pieces go out one by one, each after the one before was stored. Upholds rule 10.

use crate::loans::Borrowing;
use crate::message::{Body, Snapshot, SnapshotOutcome, SnapshotReply};
use crate::plant::planted;
use crate::progress::{Mode, Progress, Transfer};
use crate::raft::Own;
use crate::replication::Leading;
use crate::types::PLAUSIBLE_MAX;
use crate::{
    Base, Outputs, PieceOutcome, Position, ReceivedPiece, ReplicaId, SendPiece, SendSnapshot, Sent,
    TransferEnd,
};

impl Progress {
    pub(crate) fn begin_transfer(&mut self, to: ReplicaId, own: &mut Own) {
        let begun = Transfer::begin(own);
        let transfer = begun.number;
        self.enter(Mode::Snapshot(begun));
        match own.members.newest().is_witness(to) {
            true => self.send_base(to, own, transfer),
            false => own.out.send_snapshot.push(SendSnapshot {
                to,
                transfer,
                index_min: own.log.base().index,
            }),
        }
    }

    /// A transfer that is under way is over, done or not: find out anew what the follower has.
    pub(crate) fn end_transfer(&mut self, to: ReplicaId, out: &mut Outputs) {
        if let Mode::Snapshot(transfer) = &self.mode {
            out.sent.push(transfer.over(to));
            self.probe_from(self.matched + 1);
        }
    }

    /// Sends a piece again whose answer is late, and gives up a transfer that has stopped.
    pub(crate) fn watch_transfer(&mut self, to: ReplicaId, own: &mut Own) {
        let Mode::Snapshot(transfer) = &self.mode else {
            return;
        };
        if transfer.has_stopped(own) {
            self.end_transfer(to, &mut own.out);
        } else if let Some(piece) = transfer.late_piece(own) {
            own.send(to, Body::Snapshot(piece));
        }
    }
}

impl Transfer {
    pub(crate) fn begin(own: &mut Own) -> Self {
        Self {
            number: own.mail.number(),
            active_at: own.now.monotonic,
            end: TransferEnd::BrokenOff,
            is_open: false,
            piece: None,
        }
    }

    pub(crate) fn goes_on(&mut self, now: u64, piece: &Snapshot) {
        self.active_at = now;
        self.piece = Some(piece.clone());
    }

    /// All below `offset` is stored: the piece that is to be sent next. The first answer may ask to go on where a
    /// transfer before was broken off. After that only the end of the piece under way asks for the next; anything else
    /// is a duplicate, or from a follower that has lost what it had: it must not keep the transfer alive.
    pub(crate) fn stored(&mut self, now: u64, to: ReplicaId, offset: u64) -> Option<SendPiece> {
        let is_first = !self.is_open;
        let asks = |piece: &mut Snapshot| is_first || piece.end() == offset;
        self.piece.take_if(asks)?;
        self.is_open = true;
        self.active_at = now;
        Some(SendPiece {
            to,
            transfer: self.number,
            offset,
        })
    }

    /// The piece under way, if its answer is late.
    pub(crate) fn late_piece(&self, own: &Own) -> Option<Snapshot> {
        let is_late = self.silence(own) >= own.config.timing.election_nanos();
        self.piece.clone().filter(|_| is_late)
    }

    pub(crate) fn has_stopped(&self, own: &Own) -> bool {
        self.silence(own) >= own.patience() && !planted!(P45)
    }

    fn silence(&self, own: &Own) -> u64 {
        own.now.monotonic.saturating_sub(self.active_at)
    }

    pub(crate) fn over(&self, to: ReplicaId) -> Sent {
        Sent {
            to,
            transfer: self.number,
            end: self.end,
        }
    }
}

impl Leading {
    fn transfer(&mut self, to: ReplicaId, number: u64) -> Option<&mut Transfer> {
        self.progress.get_mut(&to)?.transfer(number)
    }

    pub(crate) fn send_piece(&mut self, own: &mut Own, to: ReplicaId, mut piece: Snapshot) {
        let elsewhere = self.elsewhere(own, to, piece.base.position.index);
        if let Some(transfer) = self.transfer(to, piece.transfer) {
            piece.elsewhere = elsewhere.filter(|_| !transfer.is_open);
            transfer.goes_on(own.now.monotonic, &piece);
            own.send(to, Body::Snapshot(piece));
        }
    }

    pub(crate) fn send_failed(&mut self, own: &mut Own, to: ReplicaId, transfer: u64) {
        if let Some(progress) = self.progress.get_mut(&to) {
            if progress.transfer(transfer).is_some() {
                progress.end_transfer(to, &mut own.out);
            }
        }
    }

    pub(crate) fn end_transfers(&mut self, own: &mut Own) {
        for (&to, progress) in &mut self.progress {
            progress.end_transfer(to, &mut own.out);
        }
    }

    pub(crate) fn piece_answered(&mut self, own: &mut Own, from: ReplicaId, reply: SnapshotReply) {
        let Some(progress) = self.progress.get_mut(&from) else {
            return;
        };
        let Some(transfer) = progress.transfer(reply.transfer) else {
            return;
        };
        match reply.outcome {
            SnapshotOutcome::Stored(offset) => {
                let next = transfer.stored(own.now.monotonic, from, offset);
                own.out.send_piece.extend(next);
            }
            SnapshotOutcome::Installed => {
                transfer.end = TransferEnd::Installed;
                let piece = transfer.piece.take();
                let index = piece.map_or(0, |piece| piece.base.position.index);
                progress.matched = progress.matched.max(index);
                progress.end_transfer(from, &mut own.out);
                self.commit(own);
            }
            // It is tried again when the deadline has passed, not at once.
            SnapshotOutcome::Refused => {
                transfer.end = TransferEnd::Refused;
                transfer.piece = None;
            }
        }
    }
}

impl Own {
    /// So long nothing may come of a transfer.
    pub(crate) fn patience(&self) -> u64 {
        10 * self.config.timing.election_nanos()
    }

    /// The leader has sent it.
    pub(crate) fn offer_arrived(&mut self, from: ReplicaId, piece: Snapshot) {
        if piece.base.position.index <= self.hard.committed || !self.borrows(&piece) {
            self.piece_arrived(from, piece);
        }
    }

    pub(crate) fn piece_arrived(&mut self, from: ReplicaId, piece: Snapshot) {
        let Base {
            position,
            membership,
        } = &piece.base;
        let is_plausible = position.index < PLAUSIBLE_MAX && membership.is_plausible();
        if position.index <= self.hard.committed {
            // Rule 1: what is not durable yet is acknowledged by its flush.
            if position.index <= self.log.durable() {
                self.piece_done(from, piece.transfer, SnapshotOutcome::Installed);
            }
        } else if is_plausible && position.term <= self.hard.term {
            match self.config.witness || piece.is_bare() {
                true => self.base_arrived(from, piece),
                false => self.out.pieces.push(ReceivedPiece { from, piece }),
            }
        }
    }

    pub(crate) fn piece_stored(&mut self, from: ReplicaId, transfer: u64, outcome: PieceOutcome) {
        let outcome = match outcome {
            PieceOutcome::Stored(offset) => SnapshotOutcome::Stored(offset),
            PieceOutcome::Failed => {
                self.give_up_lender(from);
                SnapshotOutcome::Refused
            }
            PieceOutcome::Complete(base) => {
                self.install(base);
                SnapshotOutcome::Installed
            }
        };
        self.piece_done(from, transfer, outcome);
    }

    pub(crate) fn piece_done(&mut self, from: ReplicaId, transfer: u64, outcome: SnapshotOutcome) {
        self.promise(
            from,
            Body::SnapshotReply(SnapshotReply { transfer, outcome }),
        );
    }

    /// Rule 10: never rolls back; log, membership and committed index move together.
    pub(crate) fn install(&mut self, base: Base) {
        let index = base.position.index;
        if index > self.hard.committed {
            self.borrowing = Borrowing::default();
            self.hard.committed = index;
            self.meet(&base.membership);
            self.rebase(base.clone());
            if !self.config.witness {
                self.applying.push_back(index);
                self.out.install = Some(base);
            }
        }
    }

    pub(crate) fn compact(&mut self, index: u64) {
        let term = self.log.term_at(index).filter(|_| index <= self.applied);
        let membership = self.members.at(index).clone();
        // Who came later was never told who founded the group: its log can't begin before it has come to a membership.
        let is_known = !membership.members.is_empty();
        if let Some(term) = term.filter(|_| is_known && index > self.log.base().index) {
            self.rebase(Base {
                position: Position::new(index, term),
                membership,
            });
        }
    }
}
