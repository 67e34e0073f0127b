//! Watches for hard situations, for the sake of counting them.

use std::collections::BTreeMap;

use little_raft_core::message::{AppendOutcome, Ballot, Body, Supply, VoteReply};
use little_raft_core::{Event, Message, Position, Raft, State, StepDown, Stranger};

use crate::coverage::{Coverage, Situation};
use crate::node::{Effects, Node};
use crate::weather::MILLI;

/// What was last seen of a replica.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    boot: u64,
    /// The term in which this boot began.
    started_in: u64,
    term: u64,
    is_leader: bool,
    is_joint: bool,
    has_lost_writes: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Observer {
    pub(crate) coverage: Coverage,
    seen: BTreeMap<u64, Seen>,
    /// Who campaigned in each term.
    candidates: BTreeMap<u64, u64>,
}

impl Observer {
    pub(crate) fn crashed(&mut self, node: &Node, lost: usize, is_last: bool) {
        let seen = self.seen.entry(node.id.0).or_default();
        if lost > 0 {
            seen.has_lost_writes = true;
            self.coverage.reach(Situation::WritesLost);
        }
        if seen.is_leader && seen.is_joint {
            self.coverage.reach(Situation::LeaderLostInJoint);
        }
        if is_last {
            self.coverage.reach(Situation::AllDown);
        }
    }

    pub(crate) fn arrives(&mut self, raft: &Raft, message: &Message) {
        if message.term < raft.term() {
            self.coverage.reach(Situation::FormerTerm);
        }
        let is_witness = raft.config().witness;
        match &message.body {
            Body::Campaign => self.coverage.reach(Situation::Handover),
            Body::Append(append) if is_witness && append.settled > raft.base().index => {
                self.coverage.reach(Situation::Settled);
            }
            Body::Snapshot(piece) if is_witness && piece.base.position.index > raft.committed() => {
                self.coverage.reach(Situation::BaseToldWitness);
            }
            Body::Supply(supply) => self.supplied(raft, supply),
            _ => {}
        }
    }

    fn supplied(&mut self, raft: &Raft, supply: &Supply) {
        let is_there = |it: &Position| raft.term_at(it.index) == Some(it.term);
        let waits = matches!(raft.state(), State::Follower | State::PreCandidate);
        if raft.leader().is_some()
            || !waits
            || raft.last() >= supply.last
            || !is_there(&supply.prev)
        {
            return;
        }
        let mut places = supply.entries.iter().map(|entry| entry.position);
        if let Some(parting) = places.find(|place| !is_there(place)) {
            self.coverage.reach(Situation::Supplied);
            if parting.index <= raft.last().index {
                self.coverage.reach(Situation::SuppliedTail);
            }
        }
    }

    pub(crate) fn committed(&mut self, raft: &Raft, position: Position) {
        if position.term < raft.term() && raft.state() == State::Leader {
            self.coverage.reach(Situation::EarlierTermCommitted);
        }
        if raft.state() == State::Leader && !raft.membership().is_voter(raft.config().id) {
            self.coverage.reach(Situation::LeadsAsNoVoter);
        }
    }

    pub(crate) fn stepped(&mut self, now: u64, node: &Node, raft: &Raft, effects: &Effects) {
        for situation in &effects.reached {
            self.coverage.reach(*situation);
        }
        self.compare(now, node, raft, effects);
        for event in &effects.events {
            self.coverage.reach(match event {
                Event::SteppedDown(StepDown::NoContact) => Situation::NoContact,
                Event::SteppedDown(StepDown::SlowDisk) => Situation::SlowDisk,
                Event::SteppedDown(StepDown::NoProgress) => Situation::NoProgress,
                Event::SteppedDown(StepDown::NotAVoter) => Situation::NotAVoter,
                Event::Removed => Situation::Removed,
                Event::Ignored {
                    reason: Stranger::FormerBoot,
                    ..
                } => Situation::FormerBoot,
                _ => continue,
            });
        }
        let seen = self.seen[&node.id.0];
        let is_again = |reply: &VoteReply, term| {
            reply.ballot != Ballot::Pre && node.boot > 1 && term == seen.started_in
        };
        for message in &effects.sends {
            match &message.body {
                Body::AppendReply(reply) => {
                    if let AppendOutcome::Rejected { .. } = reply.outcome {
                        self.coverage.reach(Situation::Rejected);
                    }
                }
                Body::VoteReply(reply) if reply.granted && is_again(reply, message.term) => {
                    self.coverage.reach(Situation::VoteAfterRestart);
                }
                _ => {}
            }
        }
    }

    /// What has changed since the last step.
    fn compare(&mut self, now: u64, node: &Node, raft: &Raft, effects: &Effects) {
        let (id, term) = (node.id.0, raft.term());
        let seen = self.seen.entry(id).or_default();
        let is_same_boot = seen.boot == node.boot;
        if !is_same_boot {
            (seen.boot, seen.started_in) = (node.boot, term);
        }
        let is_deposed = is_same_boot && seen.is_leader && raft.state() != State::Leader;
        if is_deposed && seen.is_joint {
            self.coverage.reach(Situation::LeaderLostInJoint);
        }
        if is_deposed && term > seen.term && now < node.paused_until + 3 * MILLI {
            self.coverage.reach(Situation::PausedAndDeposed);
        }
        if is_same_boot && term > seen.term && node.disk.is_flushing() {
            self.coverage.reach(Situation::TermInFlush);
        }
        if effects.reached.contains(&Situation::TailReplaced) && seen.has_lost_writes {
            seen.has_lost_writes = false;
            self.coverage.reach(Situation::LostThenReplaced);
        }
        if raft.state() == State::Candidate && *self.candidates.entry(term).or_insert(id) != id {
            self.coverage.reach(Situation::SplitVote);
            self.candidates.insert(term, id);
        }
        seen.term = term;
        seen.is_leader = raft.state() == State::Leader;
        seen.is_joint = raft.membership().is_joint();
    }
}
