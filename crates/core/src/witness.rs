//! Witnesses: voters without a state machine, which keep the log only as far as full replicas lack it.
//!
//! What two full replicas have durably, and is committed, a witness drops; where its log no longer reaches, it is told
//! where to begin, and needs no snapshot. So it is little more than a vote and the newest entries.
//!
//! ```text
//!   leader 1 and witness W commit 5; 1 dies; 2 lacks 5
//!
//!   2 -> W   would you vote for me? log ends at 4
//!   W -> 2   no; here is 5
//!   2 -> W   would you vote for me? log ends at 5
//! ```
//!
//! A witness can't lead with what it has. So it supplies whoever could, and lacks it. That is sound: a log at least as
//! up to date as another's holds all of the other that is committed, or ever will be (Raft, section 5.4.3). It takes
//! only who has no leader; and what it has acknowledged to the leader of this term it gives up only with the term.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::following::is_well_formed;
use crate::message::{Ballot, Body, Content, Snapshot, SnapshotOutcome, Supply, Vote};
use crate::progress::{Mode, Progress};
use crate::raft::{Own, Part, Raft};
use crate::replication::Leading;
use crate::{Base, ChangeError, Entry, Event, Fetch, Member, Membership, Position, ReplicaId};

impl Membership {
    /// Whether `id` can lead: it votes, in either half, and is no witness.
    pub fn may_lead(&self, id: ReplicaId) -> bool {
        self.is_voter(id) && !self.is_witness(id)
    }

    /// Whether `id` is a witness, voting or not.
    pub fn is_witness(&self, id: ReplicaId) -> bool {
        self.member(id).is_some_and(|member| member.witness)
    }

    /// Whoever never leads has no priority.
    pub(crate) fn refuse_witness(&self, id: ReplicaId) -> Result<(), ChangeError> {
        let is_asked_to_lead = |it: &Member| it.witness && it.priority > 0;
        match self.member(id).is_some_and(is_asked_to_lead) {
            true => Err(ChangeError::Witness(id)),
            false => Ok(()),
        }
    }
}

impl Leading {
    /// Whether, where witnesses vote, somebody who could lead has caught up: they may have dropped what it lacks.
    pub(crate) fn keeps_a_successor(&self, own: &Own, next: &Membership) -> bool {
        let has_caught_up = |id: ReplicaId| {
            let peer = self.progress.get(&id);
            id == own.config.id || peer.is_some_and(|it| it.is_caught_up(own, self.last_at_beat))
        };
        next.voters().all(|id| next.may_lead(id))
            || next
                .voters()
                .any(|id| next.may_lead(id) && has_caught_up(id))
    }

    /// Every heartbeat, witnesses are given a new bound up to which they need not keep what they have.
    pub(crate) fn tend_witnesses(&mut self, own: &Own) {
        let members = own.members.newest();
        let mut witnesses = members.members.iter().filter(|it| it.witness).peekable();
        if witnesses.peek().is_none() {
            return;
        }
        let durable = self.each(own, own.log.durable(), |peer| peer.matched);
        let settled = members.settled(durable).min(own.hard.committed);
        for witness in witnesses {
            if let Some(peer) = self.progress.get_mut(&witness.id) {
                peer.settled = settled.min(peer.matched);
            }
        }
    }
}

impl Progress {
    /// A witness needs no more of a snapshot than where the log begins: one bare piece, which is sent again while no
    /// answer comes.
    pub(crate) fn send_base(&mut self, to: ReplicaId, own: &mut Own, transfer: u64) {
        let position = own.log.base();
        let piece = Snapshot {
            transfer,
            base: Base {
                position,
                membership: own.members.at(position.index).clone(),
            },
            content: Content::Made(transfer),
            offset: 0,
            data: Bytes::new(),
            done: true,
            elsewhere: None,
        };
        if let Mode::Snapshot(transfer) = &mut self.mode {
            transfer.piece = Some(piece.clone());
        }
        own.send(to, Body::Snapshot(piece));
    }
}

impl Own {
    /// Without a state machine nothing is applied, and nothing waits for it.
    pub(crate) fn apply_nothing(&mut self) {
        self.applied = self.hard.committed.min(self.log.durable());
    }

    /// Who was started as something else than its group has it for would be counted on for what it does not do.
    pub(crate) fn see_misfit(&mut self, membership: &Membership) {
        let is_other = |it: &Member| it.witness != self.config.witness;
        if membership.member(self.config.id).is_some_and(is_other) {
            self.out.events.push(Event::Misfit);
        }
    }

    /// Drops what full replicas have: the log begins after that.
    pub(crate) fn settle(&mut self, settled: u64) {
        if self.config.witness && settled > self.log.base().index {
            self.apply_nothing();
            self.compact(settled);
        }
    }

    /// Where the log begins is all that a witness takes, and never enough for others.
    pub(crate) fn base_arrived(&mut self, from: ReplicaId, piece: Snapshot) {
        let outcome = match self.config.witness && piece.is_bare() {
            true => SnapshotOutcome::Installed,
            false => SnapshotOutcome::Refused,
        };
        if outcome == SnapshotOutcome::Installed {
            self.install(piece.base);
        }
        self.piece_done(from, piece.transfer, outcome);
    }

    /// As a witness, gives one that could lead what it lacks: all after where our log and one that ends at `theirs` may
    /// part. What is not in memory is read from storage first.
    pub(crate) fn supply(&mut self, to: ReplicaId, theirs: Position) {
        let (prev, last) = (self.log.floor(theirs), self.log.last());
        // Without a place that both may have, it lacks what others must have: that was dropped.
        let is_shared = prev <= theirs && self.log.contains(prev);
        let lacks = theirs < last && is_shared;
        if !self.config.witness || !self.members.newest().may_lead(to) || !lacks {
            return;
        }
        let (first, bytes_max) = (prev.index + 1, self.config.message_bytes_max);
        match self.log.cached(first, last.index, bytes_max) {
            Some(entries) => self.send_supply(to, prev, entries),
            None => self.out.fetch.push(Fetch {
                to,
                first,
                last: self.log.cached_from() - 1,
                bytes_max,
            }),
        }
    }

    /// Storage may have answered from before a truncation: only what the log still has is sent.
    pub(crate) fn fetched_to_supply(&mut self, to: ReplicaId, entries: Vec<Entry>) {
        let Some(before) = entries.first().map(|entry| entry.position.index - 1) else {
            return;
        };
        let is_ours = entries.iter().all(|it| self.log.contains(it.position));
        if let Some(term) = self.log.term_at(before).filter(|_| is_ours) {
            if self.config.witness {
                self.send_supply(to, Position::new(before, term), entries.into());
            }
        }
    }

    fn send_supply(&mut self, to: ReplicaId, prev: Position, entries: Arc<[Entry]>) {
        let last = self.log.last();
        self.send(
            to,
            Body::Supply(Supply {
                last,
                prev,
                entries,
            }),
        );
    }

    /// Asks for what follows `place`, by the question whose refusal brings it; a vote for so little counts nowhere.
    fn ask_for_supply(&mut self, witness: ReplicaId, place: Position) {
        let vote = Vote {
            number: self.mail.number(),
            ballot: Ballot::Pre,
            last: place,
        };
        self.send(witness, Body::Vote(vote));
    }
}

impl Raft {
    /// Takes over what a witness's log, more up to date than ours, has in place of ours; then asks for more of it, or
    /// around for votes.
    pub(crate) fn supplied(&mut self, from: ReplicaId, term: u64, supply: Supply) {
        let Supply {
            last,
            prev,
            entries,
        } = supply;
        let Some(end) = entries.last().map(|entry| entry.position) else {
            return;
        };
        let is_newer = last > self.own.log.last();
        if !self.waits_for_a_leader() || !is_newer || !is_well_formed(prev, &entries, term) {
            return;
        }
        if term > self.own.hard.term {
            self.follow(term, None);
        }
        if !self.own.log.contains(prev) {
            // A place that we have compacted is another than theirs: their log lacks what is committed.
            if prev.index > self.own.hard.committed {
                let place = self.own.log.floor(prev);
                self.own.ask_for_supply(from, place);
            }
            return;
        }
        let mut places = entries.iter().map(|entry| entry.position);
        // What brings nothing new was repeated on its way, and is not answered: or each would ask for the next again.
        let parting = places.find(|place| !self.own.log.contains(*place));
        let Some(parting) = parting.filter(|it| it.index > self.own.hard.committed) else {
            return;
        };
        if parting.index <= self.own.following.verified {
            self.follow(self.own.hard.term + 1, None);
        }
        self.own.take_entries(prev.index, entries);
        self.own.put_off_election();
        match end < last {
            true => self.own.ask_for_supply(from, end),
            false => self.election_due(),
        }
    }

    /// Whether our log is nobody's business but ours: there is no leader to follow, and nobody was asked for a vote by
    /// what it holds now.
    fn waits_for_a_leader(&self) -> bool {
        let is_bound = match &self.part {
            Part::Follower => false,
            Part::Campaigner(campaign) => campaign.ballot != Ballot::Pre,
            Part::Leader(_) => true,
        };
        !is_bound && self.own.leader.is_none() && !self.own.config.witness
    }
}
