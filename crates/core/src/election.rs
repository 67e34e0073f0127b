//! Who leads (Raft, section 5.2; thesis, sections 3.10 and 9.6).
//!
//! ```text
//!             no leader heard            a quorum would            a quorum did
//!  Follower ------------------> Pre ------------------> Real ------------------> Leader
//!      ^                         ^  the leader's go-ahead ^                         |
//!      |                         +--- (Follower) ---------+                         |
//!      +---- a higher term, or the leader of this one, or no quorum in reach -------+
//! ```
//!
//! Upholds rule 1 (votes and candidacies wait for the disk) and rule 6 (pre-vote with stickiness).

use alloc::collections::BTreeSet;

use crate::ReplicaId;
use crate::message::{Ballot, Body, Vote, VoteReply};
use crate::plant::planted;
use crate::raft::{Own, Part, Raft};
use crate::replication::Leading;

#[derive(Clone, Debug, Hash)]
pub(crate) struct Campaign {
    number: u64,
    pub(crate) ballot: Ballot,
    votes: BTreeSet<ReplicaId>,
}

impl Raft {
    /// The leader has not been heard for too long, or there was none to hear.
    pub(crate) fn election_due(&mut self) {
        self.own.put_off_election();
        if self.own.now.monotonic < self.own.promised_until {
            return;
        }
        if self.own.leader.is_some() && !planted!(P06) {
            self.follow(self.own.hard.term, None);
        }
        // Who may not lead asks too: perhaps it was removed, and will be told.
        let asks = !self.own.members.newest().may_lead(self.own.config.id) && self.own.belongs;
        if self.own.can_lead() || (asks && !self.own.is_removed()) {
            self.campaign(Ballot::Pre);
        }
    }

    pub(crate) fn told_to_campaign(&mut self, from: ReplicaId) {
        if self.own.leader == Some(from) && self.own.can_lead() {
            self.campaign(Ballot::Transfer);
        }
    }

    fn campaign(&mut self, ballot: Ballot) {
        // Who campaigns has forgotten its leader, or it would refuse others for a leader that is gone.
        let leader = self.own.leader.filter(|_| planted!(P06));
        let term = self.own.hard.term + u64::from(ballot != Ballot::Pre);
        self.follow(term, leader);
        let own = &mut self.own;
        let (number, last) = (own.mail.number(), own.log.last());
        let votes = BTreeSet::new();
        self.part = Part::Campaigner(Campaign {
            number,
            ballot,
            votes,
        });
        if ballot != Ballot::Pre {
            own.vote_for(own.config.id);
        }
        let mut voters: BTreeSet<ReplicaId> = own.members.newest().voters().collect();
        voters.remove(&own.config.id);
        for peer in voters {
            let vote = Body::Vote(Vote {
                number,
                ballot,
                last,
            });
            match ballot {
                Ballot::Pre => own.send(peer, vote),
                // Rule 1: the term, our own vote and the log position claimed are durable before this leaves.
                Ballot::Real | Ballot::Transfer => own.promise(peer, vote),
            }
        }
        if ballot == Ballot::Pre {
            self.count_vote(self.own.config.id);
        }
    }

    pub(crate) fn asked_to_vote(&mut self, from: ReplicaId, term: u64, vote: Vote) {
        if vote.ballot == Ballot::Pre {
            return self.own.asked_for_pre_vote(from, term, vote);
        }
        if term > self.own.hard.term {
            // Rule 6: while a leader is alive, others' wish to lead doesn't even raise the term.
            if vote.ballot == Ballot::Real && self.own.is_loyal() {
                return;
            }
            self.follow(term, None);
        }
        let own = &mut self.own;
        if planted!(P09) && !own.members.newest().is_voter(own.config.id) {
            return;
        }
        let is_free = own.hard.vote.is_none_or(|candidate| candidate == from);
        let granted = term == own.hard.term && is_free && own.is_up_to_date(&vote);
        if granted && own.hard.vote.is_none() {
            own.vote_for(from);
            own.put_off_election();
        }
        // Rule 1: a vote leaves once it is durable; also one that is given again.
        let answer = vote.answer(granted);
        planted!(P01, own.send(from, answer), own.promise(from, answer));
    }

    /// The term is ours: a reply of an older one was dropped, and a newer one ended this campaign.
    pub(crate) fn vote_arrived(&mut self, from: ReplicaId, reply: VoteReply) {
        let Part::Campaigner(campaign) = &self.part else {
            return;
        };
        let is_asked_for = (reply.number, reply.ballot) == (campaign.number, campaign.ballot);
        let is_late = planted!(P02) && reply.ballot == campaign.ballot
            || planted!(P04) && reply.ballot == Ballot::Pre;
        if reply.granted && (is_asked_for || is_late) {
            self.count_vote(from);
        }
    }

    /// Rule 1: our own vote counts once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        if self.own.disk.is_promise_durable() && self.own.hard.vote == Some(self.own.config.id) {
            self.count_vote(self.own.config.id);
        }
    }

    fn count_vote(&mut self, voter: ReplicaId) {
        let Part::Campaigner(Campaign { ballot, votes, .. }) = &mut self.part else {
            return;
        };
        votes.insert(voter);
        if !self
            .own
            .members
            .newest()
            .has_quorum(|id| votes.contains(&id))
        {
            return;
        }
        if *ballot == Ballot::Pre {
            if self.own.can_lead() {
                self.campaign(Ballot::Real);
            }
        } else if votes.contains(&self.own.config.id) {
            // Without our own vote our disk has not shown that it works.
            self.lead();
        }
    }

    fn lead(&mut self) {
        let own = &mut self.own;
        own.leader = Some(own.config.id);
        own.election_at = u64::MAX;
        (own.beat_at, own.contact) = (own.now.monotonic, own.now.monotonic);
        own.reads.ask_anew();
        own.end_loans();
        self.part = Part::Leader(Leading::begin(own));
    }
}

impl Own {
    /// Draws the next wait: between once and twice the election timeout (Raft, section 5.2).
    pub(crate) fn put_off_election(&mut self) {
        let election = self.config.timing.election_nanos();
        self.election_at = self.now.monotonic + election + self.random.below(election);
    }

    /// A full disk or one that hangs must not win what it can't serve.
    fn can_lead(&self) -> bool {
        let election = self.config.timing.election_nanos();
        let hangs = |since| self.now.monotonic.saturating_sub(since) >= election;
        self.is_needed()
            && !self.config.witness
            && !self.is_removed()
            && self.accepting
            && !self.disk.busy_since.is_some_and(hangs)
    }

    /// Whether it votes, or will until a membership is committed without it: nobody else may have that entry, and who
    /// lacks it can't lead (thesis, section 4.2.2).
    fn is_needed(&self) -> bool {
        let committed = self.members.at(self.hard.committed);
        [self.members.newest(), committed]
            .iter()
            .any(|members| members.is_voter(self.config.id))
    }

    fn is_removed(&self) -> bool {
        self.removed_in > self.members.newest().version
    }

    /// Whether no other may lead as far as we can help it: a leader is alive, or may rely on our word (rule 8).
    fn is_loyal(&self) -> bool {
        self.hears_a_leader() || self.now.monotonic < self.promised_until
    }

    /// Rule 6, stickiness: a live leader, perhaps ourselves, was heard within the least election timeout.
    fn hears_a_leader(&self) -> bool {
        let silence = self.now.monotonic.saturating_sub(self.contact);
        let is_fresh = silence < self.config.timing.election_nanos();
        self.leader
            .is_some_and(|leader| leader == self.config.id || is_fresh || planted!(P06))
    }

    /// Answering a pre-vote changes nothing here; the answer's term tells a laggard where the others are.
    fn asked_for_pre_vote(&mut self, from: ReplicaId, term: u64, vote: Vote) {
        let is_good = term >= self.hard.term && self.is_up_to_date(&vote);
        let answer = vote.answer(is_good && !self.is_loyal());
        // A grant is said in the asker's term: from a voter that is behind, it would be dropped as old.
        self.mail.send(from, term.max(self.hard.term), answer);
        if !self.is_loyal() {
            self.supply(from, vote.last);
        }
    }

    /// Whether the asker's log may stand for ours (Raft, section 5.4.1).
    fn is_up_to_date(&self, vote: &Vote) -> bool {
        let (theirs, ours) = (vote.last, self.log.last());
        let is_later = planted!(P03a, theirs.index >= ours.index, theirs >= ours);
        is_later && !(planted!(P03b) && theirs.index < ours.index)
    }

    fn vote_for(&mut self, candidate: ReplicaId) {
        self.hard.vote = Some(candidate);
        self.disk.dirty = true;
    }
}

impl Vote {
    fn answer(&self, granted: bool) -> Body {
        Body::VoteReply(VoteReply {
            number: self.number,
            ballot: self.ballot,
            granted,
            promise: 0,
        })
    }
}
