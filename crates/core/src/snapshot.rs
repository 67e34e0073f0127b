//! How stragglers catch up when the log no longer reaches back to them (Raft, section 7).
//!
//! Pieces go out one by one, each after the one before was stored. Upholds rule 10.

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
        let transfer = own.mail.number();
        self.enter(Mode::Snapshot(Transfer {
            number: transfer,
            active_at: own.now.monotonic,
            end: TransferEnd::BrokenOff,
            is_open: false,
            piece: None,
        }));
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
        if let Mode::Snapshot(Transfer { number, end, .. }) = self.mode {
            self.probe_from(self.matched + 1);
            let transfer = number;
            out.sent.push(Sent { to, transfer, end });
        }
    }

    /// Sends a piece again whose answer is late, and gives up a transfer that has stopped.
    pub(crate) fn watch_transfer(&mut self, to: ReplicaId, own: &mut Own) {
        let Mode::Snapshot(transfer) = &self.mode else {
            return;
        };
        let silence = own.now.monotonic.saturating_sub(transfer.active_at);
        let election = own.config.timing.election_nanos();
        if silence >= 10 * election && !planted!(P45) {
            self.end_transfer(to, &mut own.out);
        } else if silence >= election {
            let late = transfer.piece.clone().map(Body::Snapshot);
            late.into_iter().for_each(|piece| own.send(to, piece));
        }
    }
}

impl Leading {
    fn transfer(&mut self, to: ReplicaId, number: u64) -> Option<&mut Transfer> {
        self.progress.get_mut(&to)?.transfer(number)
    }

    pub(crate) fn send_piece(&mut self, own: &mut Own, to: ReplicaId, piece: Snapshot) {
        if let Some(transfer) = self.transfer(to, piece.transfer) {
            transfer.active_at = own.now.monotonic;
            transfer.piece = Some(piece.clone());
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
        let (to, number) = (from, reply.transfer);
        let Some(transfer) = progress.transfer(number) else {
            return;
        };
        match reply.outcome {
            SnapshotOutcome::Stored(offset) => {
                // The first answer may ask to go on where a transfer before was broken off. After that only the end of
                // the piece under way asks for the next; anything else is a duplicate, or from a follower that has
                // lost what it had: it must not keep the transfer alive.
                let is_first = !transfer.is_open;
                let asks = |piece: &mut Snapshot| is_first || piece.end() == offset;
                if transfer.piece.take_if(asks).is_some() {
                    transfer.is_open = true;
                    transfer.active_at = own.now.monotonic;
                    let transfer = number;
                    own.out.send_piece.push(SendPiece {
                        to,
                        transfer,
                        offset,
                    });
                }
            }
            SnapshotOutcome::Installed => {
                transfer.end = TransferEnd::Installed;
                let piece = transfer.piece.take();
                let index = piece.map_or(0, |piece| piece.base.position.index);
                progress.matched = progress.matched.max(index);
                progress.end_transfer(to, &mut own.out);
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
            PieceOutcome::Failed => SnapshotOutcome::Refused,
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
