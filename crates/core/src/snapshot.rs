//! How stragglers catch up when the log no longer reaches back to them (Raft, section 7).
//!
//! Pieces go out one by one, each after the one before was stored. Upholds rule 10.

use alloc::vec::Vec;

use crate::message::{Body, Snapshot, SnapshotOutcome, SnapshotReply};
use crate::progress::{Mode, Progress, Transfer};
use crate::raft::{Part, Raft};
use crate::{Base, PieceOutcome, ReceivedPiece, ReplicaId, SendPiece, SendSnapshot};

impl Progress {
    pub(crate) fn await_snapshot(&mut self, number: u64, now: u64) {
        self.enter(Mode::Snapshot(Transfer {
            number,
            active_at: now,
            piece: None,
        }));
    }
}

impl Raft {
    pub(crate) fn send_piece(&mut self, to: ReplicaId, piece: Snapshot) {
        let now = self.now.monotonic;
        let Some(progress) = self.progress(to) else {
            return;
        };
        if let Some(transfer) = progress.is_transfer(piece.transfer) {
            transfer.active_at = now;
            transfer.piece = Some(piece.clone());
            self.mail.send(to, self.hard.term, Body::Snapshot(piece));
        }
    }

    pub(crate) fn piece_answered(&mut self, from: ReplicaId, reply: SnapshotReply) {
        let SnapshotReply {
            transfer: number,
            outcome,
        } = reply;
        let now = self.now.monotonic;
        let Some(progress) = self.progress(from) else {
            return;
        };
        let Some(transfer) = progress.is_transfer(number) else {
            return;
        };
        match outcome {
            SnapshotOutcome::Stored(offset) => {
                // Only the end of the piece under way asks for the next; anything else is a duplicate, or from a
                // follower that has lost what it had: it must not keep the transfer alive.
                let sent = transfer
                    .piece
                    .take_if(|piece| piece.offset + piece.data.len() as u64 == offset);
                if sent.is_some() {
                    transfer.active_at = now;
                    self.out.send_piece.push(SendPiece {
                        to: from,
                        transfer: number,
                        offset,
                    });
                }
            }
            SnapshotOutcome::Installed => {
                let piece = transfer.piece.take();
                let index = piece.map_or(0, |piece| piece.base.position.index);
                progress.matched = progress.matched.max(index);
                self.end_transfer(from, number);
                self.commit();
            }
            // It is tried again when the deadline has passed, not at once.
            SnapshotOutcome::Refused => transfer.piece = None,
        }
    }

    /// It caught up by the log after all.
    pub(crate) fn matched_during_transfer(&mut self, from: ReplicaId) {
        let base = self.log.base().index;
        if self
            .progress(from)
            .is_some_and(|progress| progress.matched >= base)
        {
            self.end_transfer_to(from);
        }
    }

    /// The transfer is over, done or not: find out anew what the follower has.
    pub(crate) fn end_transfer(&mut self, to: ReplicaId, number: u64) {
        let Some(progress) = self.progress(to) else {
            return;
        };
        if progress.is_transfer(number).is_some() {
            progress.probe_from(progress.matched + 1);
            self.out.sent.push(SendSnapshot {
                to,
                transfer: number,
            });
        }
    }

    pub(crate) fn end_transfer_to(&mut self, to: ReplicaId) {
        let Some(progress) = self.progress(to) else {
            return;
        };
        if let Mode::Snapshot(Transfer { number, .. }) = progress.mode {
            self.end_transfer(to, number);
        }
    }

    pub(crate) fn drop_transfers(&mut self) {
        self.for_each_follower(Self::end_transfer_to);
    }

    /// Sends a piece again whose answer is late, and gives up a transfer that has stopped.
    pub(crate) fn watch_transfers(&mut self) {
        let (now, timing, term) = (self.now.monotonic, self.config.timing, self.hard.term);
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        let mut stopped = Vec::new();
        for (&to, progress) in &mut leading.progress {
            let Mode::Snapshot(transfer) = &mut progress.mode else {
                continue;
            };
            let silence = now.saturating_sub(transfer.active_at);
            if silence >= 10 * timing.election_nanos() {
                stopped.push((to, transfer.number));
            } else if silence >= timing.election_nanos() {
                let late = transfer.piece.clone().map(Body::Snapshot);
                late.into_iter()
                    .for_each(|piece| self.mail.send(to, term, piece));
            }
        }
        stopped
            .into_iter()
            .for_each(|(to, number)| self.end_transfer(to, number));
    }

    pub(crate) fn piece_arrived(&mut self, from: ReplicaId, piece: Snapshot) {
        let plausible = piece.base.position.index < 1 << 62;
        if !plausible || !self.hear_leader(from) {
            return;
        }
        if piece.base.position.index <= self.hard.committed {
            let outcome = SnapshotOutcome::Installed;
            let reply = SnapshotReply {
                transfer: piece.transfer,
                outcome,
            };
            return self.send_promise(from, Body::SnapshotReply(reply));
        }
        self.out.pieces.push(ReceivedPiece { from, piece });
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
        self.send_promise(
            from,
            Body::SnapshotReply(SnapshotReply { transfer, outcome }),
        );
    }

    /// Rule 10: never rolls back; log, membership and committed index move together.
    fn install(&mut self, base: Base) {
        let index = base.position.index;
        if index <= self.hard.committed {
            return;
        }
        self.hard.committed = index;
        self.membership = base.membership.clone();
        self.applying.push_back(index);
        self.rebase(base.clone());
        self.out.install = Some(base);
    }

    pub(crate) fn compact(&mut self, index: u64) {
        let term = self.log.term_at(index).filter(|_| index <= self.applied);
        if let Some(term) = term.filter(|_| index > self.log.base().index) {
            let position = crate::Position::new(index, term);
            self.rebase(Base {
                position,
                membership: self.membership.clone(),
            });
        }
    }
}
