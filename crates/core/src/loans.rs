//! Snapshots from a follower: where one is nearer than the leader, or the leader has others to send to.
//!
//! ```text
//!   1 -> 3   snapshot of 9@2, piece at 0    the leader offers, and offers again while no answer comes
//!   3 -> 2   lend me a snapshot of 9 or later
//!   2 -> 3   lent: snapshot of 12@2, ...    answered to 2, piece by piece
//! ```
//!
//! What a snapshot holds is committed, so it is the same whoever sends it. It says nothing about who leads. What the
//! follower has of the leader's log afterwards, the leader learns from the answer to its next append, as always.
//!
//! Only the straggler knows whom it has asked. Who has nothing to lend, or is gone, says nothing: after some silence the
//! straggler turns to the next, and in the end takes what the leader offers.

use core::mem;

use crate::message::{Body, Snapshot, SnapshotOutcome, SnapshotReply};
use crate::progress::{Mode, Progress, Transfer};
use crate::raft::Own;
use crate::replication::Leading;
use crate::{ReplicaId, SendSnapshot, Sent, TransferEnd};

/// What a straggler knows of those whom it would rather have a snapshot from than from the leader.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Borrowing {
    /// So many were asked since a snapshot was installed.
    tried: usize,
    pub(crate) lender: Option<Lender>,
}

/// Who was asked last.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Lender {
    id: ReplicaId,
    /// When it last brought something new.
    pub(crate) active_at: u64,
    /// Up to where it has brought it.
    reached: Option<u64>,
}

impl Leading {
    /// Who else could send a snapshot of this index or a later one to `to`, while we send to others.
    pub(crate) fn elsewhere(&self, own: &Own, to: ReplicaId, index: u64) -> Option<ReplicaId> {
        let is_sent_to =
            |peer: &Progress| matches!(&peer.mode, Mode::Snapshot(transfer) if transfer.is_open);
        let members = own.members.newest();
        let mut others = self.progress.iter().filter(|(id, _)| **id != to);
        others.clone().find(|(_, peer)| is_sent_to(peer))?;
        let could = others.find(|(id, peer)| {
            peer.is_caught_up(own, index) && !is_sent_to(peer) && !members.is_witness(**id)
        });
        could.map(|(&id, _)| id)
    }
}

/// The straggler's side.
impl Own {
    /// Whether what the leader offers is left alone, since another is asked for it.
    pub(crate) fn borrows(&mut self, offer: &Snapshot) -> bool {
        if offer.offset > 0 || offer.is_bare() {
            return false;
        }
        let (now, patience) = (self.now.monotonic, self.patience());
        let lender = self.borrowing.lender.as_ref();
        let lender = lender.filter(|it| Some(it.id) != self.leader);
        if lender.is_some_and(|it| now - it.active_at < patience) {
            return true;
        }
        let id = self.next_lender(offer);
        self.borrowing.lender = id.map(|id| Lender {
            id,
            active_at: now,
            reached: None,
        });
        if let Some(id) = id {
            self.borrowing.tried += 1;
            self.send(id, Body::Borrow(offer.base.position.index));
        }
        id.is_some()
    }

    /// The next of those who could be asked; the leader's choice comes last.
    fn next_lender(&self, offer: &Snapshot) -> Option<ReplicaId> {
        let members = &offer.base.membership;
        let is_full = |id: ReplicaId| members.member(id).is_some_and(|it| !it.witness);
        let nearest = self.config.nearest.iter().copied();
        nearest
            .chain(offer.elsewhere)
            .filter(|&id| is_full(id) && id != self.config.id && Some(id) != self.leader)
            .nth(self.borrowing.tried)
    }

    /// Who was not asked, or is given up, may send what it likes.
    pub(crate) fn lent_arrived(&mut self, from: ReplicaId, piece: Snapshot) {
        let (now, leader) = (self.now.monotonic, self.leader);
        let lender = self.borrowing.lender.as_mut();
        if let Some(lender) = lender.filter(|it| it.id == from && leader != Some(from)) {
            let reached = Some(piece.end());
            if reached > lender.reached {
                (lender.reached, lender.active_at) = (reached, now);
            }
            self.piece_arrived(from, piece);
        }
    }

    /// What it sends can't be used: somebody else is asked.
    pub(crate) fn give_up_lender(&mut self, id: ReplicaId) {
        self.borrowing.lender.take_if(|lender| lender.id == id);
    }
}

/// The lender's side.
impl Own {
    pub(crate) fn lend(&mut self, to: ReplicaId, index_min: u64) {
        let is_member = self.members.newest().member(to).is_some();
        if self.config.witness || self.applied < index_min || !is_member {
            return;
        }
        self.end_loan(to, TransferEnd::BrokenOff);
        let loan = Transfer::begin(self);
        self.out.send_snapshot.push(SendSnapshot {
            to,
            transfer: loan.number,
            index_min,
        });
        self.loans.insert(to, loan);
        self.schedule_beat();
    }

    fn loan(&mut self, to: ReplicaId, number: u64) -> Option<&mut Transfer> {
        let loan = self.loans.get_mut(&to);
        loan.filter(|loan| loan.number == number)
    }

    pub(crate) fn lend_piece(&mut self, to: ReplicaId, piece: Snapshot) {
        let now = self.now.monotonic;
        if let Some(loan) = self.loan(to, piece.transfer) {
            loan.goes_on(now, &piece);
            self.send(to, Body::Lent(piece));
        }
    }

    pub(crate) fn lend_failed(&mut self, to: ReplicaId, number: u64) {
        if self.loan(to, number).is_some() {
            self.end_loan(to, TransferEnd::BrokenOff);
        }
    }

    pub(crate) fn loan_answered(&mut self, from: ReplicaId, reply: SnapshotReply) {
        let now = self.now.monotonic;
        let Some(loan) = self.loan(from, reply.transfer) else {
            return;
        };
        match reply.outcome {
            SnapshotOutcome::Stored(offset) => {
                let next = loan.stored(now, from, offset);
                self.out.send_piece.extend(next);
            }
            SnapshotOutcome::Installed => self.end_loan(from, TransferEnd::Installed),
            SnapshotOutcome::Refused => self.end_loan(from, TransferEnd::Refused),
        }
    }

    /// Every heartbeat: what is late is sent again, and what has stopped is over.
    pub(crate) fn watch_loans(&mut self) {
        let mut loans = mem::take(&mut self.loans);
        loans.retain(|&to, loan| {
            let has_stopped = loan.has_stopped(self);
            match has_stopped {
                true => self.out.sent.push(loan.over(to)),
                false => {
                    let late = loan.late_piece(self).map(Body::Lent);
                    late.into_iter().for_each(|piece| self.send(to, piece));
                }
            }
            !has_stopped
        });
        if !loans.is_empty() {
            self.schedule_beat();
        }
        self.loans = loans;
    }

    /// A leader sends as a leader.
    pub(crate) fn end_loans(&mut self) {
        let loans = mem::take(&mut self.loans);
        let over = loans.iter().map(|(&to, loan)| loan.over(to));
        self.out.sent.extend(over);
    }

    fn end_loan(&mut self, to: ReplicaId, end: TransferEnd) {
        if let Some(loan) = self.loans.remove(&to) {
            self.out.sent.push(Sent {
                end,
                ..loan.over(to)
            });
        }
    }
}
