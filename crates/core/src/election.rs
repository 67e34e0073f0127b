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

use crate::message::{Ballot, Body, Vote, VoteReply};
use crate::raft::{Part, Raft};
use crate::replication::Leading;
use crate::{Entry, EntryKind, Position, ReplicaId};

#[derive(Clone, Debug, Hash)]
pub(crate) struct Campaign {
    number: u64,
    pub(crate) ballot: Ballot,
    votes: BTreeSet<ReplicaId>,
}

impl Raft {
    /// Draws the next wait: between once and twice the election timeout (Raft, section 5.2).
    pub(crate) fn put_off_election(&mut self) {
        let election = self.config.timing.election_nanos();
        self.election_at = self.now.monotonic + election + self.random.below(election);
    }

    /// The leader has not been heard for too long, or there was none to hear.
    pub(crate) fn election_due(&mut self) {
        self.put_off_election();
        if self.leader.is_some() {
            self.follow(self.hard.term, None);
        }
        if self.can_lead() {
            self.campaign(Ballot::Pre);
        }
    }

    /// A full disk or one that hangs must not win what it can't serve.
    fn can_lead(&self) -> bool {
        let election = self.config.timing.election_nanos();
        let hangs = |since| self.now.monotonic.saturating_sub(since) >= election;
        self.membership.is_voter(self.config.id)
            && self.accepting
            && !self.disk.busy_since.is_some_and(hangs)
    }

    fn campaign(&mut self, ballot: Ballot) {
        let number = self.mail.number();
        // Who campaigns has forgotten its leader, or it would refuse others for a leader that is gone.
        self.follow(self.hard.term + u64::from(ballot != Ballot::Pre), None);
        self.part = Part::Campaigner(Campaign {
            number,
            ballot,
            votes: BTreeSet::new(),
        });
        let vote = Body::Vote(Vote {
            number,
            ballot,
            last: self.log.last(),
        });
        if ballot != Ballot::Pre {
            self.vote_for(self.config.id);
        }
        for peer in self.voting_peers() {
            match ballot {
                Ballot::Pre => self.mail.send(peer, self.hard.term, vote.clone()),
                // Rule 1: the term, our own vote and the log position claimed are durable before this leaves.
                Ballot::Real | Ballot::Transfer => self.send_promise(peer, vote.clone()),
            }
        }
        if ballot == Ballot::Pre {
            self.count_vote(self.config.id);
        }
    }

    fn voting_peers(&self) -> BTreeSet<ReplicaId> {
        let voters = self
            .membership
            .incoming
            .iter()
            .chain(&self.membership.outgoing);
        voters.copied().filter(|&id| id != self.config.id).collect()
    }

    pub(crate) fn asked_to_vote(&mut self, from: ReplicaId, term: u64, vote: Vote) {
        if vote.ballot == Ballot::Pre {
            return self.asked_for_pre_vote(from, term, vote);
        }
        if term > self.hard.term {
            // Rule 6: while a leader is alive, others' wish to lead doesn't even raise the term.
            if vote.ballot == Ballot::Real && self.hears_a_leader() {
                return;
            }
            self.follow(term, None);
        }
        let free = self.hard.vote.is_none_or(|candidate| candidate == from);
        let granted = term == self.hard.term && free && vote.last >= self.log.last();
        if granted && self.hard.vote.is_none() {
            self.vote_for(from);
            self.put_off_election();
        }
        let (number, ballot) = (vote.number, vote.ballot);
        let reply = Body::VoteReply(VoteReply {
            number,
            ballot,
            granted,
            promise: 0,
        });
        // Rule 1: a vote leaves once it is durable; also one that is given again.
        self.send_promise(from, reply);
    }

    /// Answering a pre-vote changes nothing here; the answer's term tells a laggard where the others are.
    fn asked_for_pre_vote(&mut self, from: ReplicaId, term: u64, vote: Vote) {
        let granted =
            term >= self.hard.term && vote.last >= self.log.last() && !self.hears_a_leader();
        let (number, ballot) = (vote.number, vote.ballot);
        let reply = VoteReply {
            number,
            ballot,
            granted,
            promise: 0,
        };
        self.mail.send(from, self.hard.term, Body::VoteReply(reply));
    }

    /// Rule 6, stickiness: a live leader was heard within the least election timeout.
    fn hears_a_leader(&self) -> bool {
        let silence = self.now.monotonic.saturating_sub(self.contact);
        let fresh = silence < self.config.timing.election_nanos();
        matches!(self.part, Part::Leader(_)) || (self.leader.is_some() && fresh)
    }

    /// The term is ours: a reply of an older one was dropped, and a newer one ended this campaign.
    pub(crate) fn vote_arrived(&mut self, from: ReplicaId, reply: VoteReply) {
        let Part::Campaigner(campaign) = &self.part else {
            return;
        };
        if reply.granted && (reply.number, reply.ballot) == (campaign.number, campaign.ballot) {
            self.count_vote(from);
        }
    }

    /// Rule 1: our own vote counts once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        if self.is_promise_durable() && self.hard.vote == Some(self.config.id) {
            self.count_vote(self.config.id);
        }
    }

    fn count_vote(&mut self, voter: ReplicaId) {
        let Part::Campaigner(campaign) = &mut self.part else {
            return;
        };
        campaign.votes.insert(voter);
        if !self
            .membership
            .has_quorum(|id| campaign.votes.contains(&id))
        {
            return;
        }
        match campaign.ballot {
            Ballot::Pre => self.campaign(Ballot::Real),
            // Without our own vote our disk has not shown that it works.
            Ballot::Real | Ballot::Transfer if campaign.votes.contains(&self.config.id) => {
                self.lead()
            }
            Ballot::Real | Ballot::Transfer => {}
        }
    }

    fn lead(&mut self) {
        let (now, last) = (self.now.monotonic, self.log.last().index);
        let peers = self.membership.members.iter().map(|member| member.id);
        let peers = peers.filter(|&id| id != self.config.id);
        let bytes = self.log.cached_bytes(self.hard.committed + 1, last);
        self.part = Part::Leader(Leading::new(peers, last, now, bytes));
        self.leader = Some(self.config.id);
        // An entry of the new term lets those of earlier terms commit (Raft, section 8).
        self.append(EntryKind::Noop, 0, bytes::Bytes::new());
        self.beat_at = now;
        self.reads.ask_anew();
    }

    pub(crate) fn told_to_campaign(&mut self, from: ReplicaId) {
        if self.leader == Some(from) && self.can_lead() {
            self.campaign(Ballot::Transfer);
        }
    }

    pub(crate) fn append(
        &mut self,
        kind: EntryKind,
        checksum: u32,
        payload: bytes::Bytes,
    ) -> Position {
        let Part::Leader(leading) = &mut self.part else {
            unreachable!("only a leader appends")
        };
        let position = Position::new(self.log.last().index + 1, self.hard.term);
        leading.time = leading.time.max(self.now.wall).max(self.log.last_time());
        let entry = Entry {
            position,
            kind,
            time: leading.time,
            checksum,
            payload,
        };
        leading.uncommitted_bytes += entry.bytes();
        self.log.append(entry);
        position
    }
}
