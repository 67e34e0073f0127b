//! Election safety: at most one leader in a term, and a majority has voted for it in that term (Raft, section 5.2). Nobody
//! follows another.

use std::collections::{BTreeMap, BTreeSet};

use little_raft_core::message::{Ballot, Body};
use little_raft_core::{Raft, ReplicaId, State};

use super::{Violation, ensure, has_quorum};
use crate::node::{Effects, Node};

#[derive(Debug, Default)]
pub(crate) struct Election {
    /// Who led each term, and in which boot.
    leaders: BTreeMap<u64, (u64, u64)>,
    /// Each vote ever given to another: term, voter, candidate.
    votes: BTreeSet<(u64, ReplicaId, ReplicaId)>,
}

impl Election {
    /// How many there were so far.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn is_new_leader(&mut self, node: &Node, raft: &Raft) -> Result<bool, Violation> {
        if raft.state() != State::Leader {
            return self.follows(node, raft).map(|()| false);
        }
        let (term, us) = (raft.term(), (node.id.0, node.boot));
        let known = self.leaders.insert(term, us);
        ensure(
            known.is_none_or(|known| known == us),
            "election safety",
            || format!("{us:?} and {known:?} (id, boot) both lead term {term}"),
        )?;
        if known.is_none() {
            ensure(!node.is_witness, "witnesses never lead", || {
                format!("{us:?} (id, boot) leads term {term}")
            })?;
            self.is_elected(node, raft)?;
        }
        Ok(known.is_none())
    }

    /// Nothing but a leader's word names a leader.
    fn follows(&self, node: &Node, raft: &Raft) -> Result<(), Violation> {
        let Some(followed) = raft.leader() else {
            return Ok(());
        };
        let leads = self.leaders.get(&raft.term());
        let leads = leads.map(|(id, _)| ReplicaId(*id));
        ensure(leads == Some(followed), "who is followed leads", || {
            let (id, term) = (node.id, raft.term());
            format!("{id} follows {followed} in term {term}, which {leads:?} leads")
        })
    }

    pub(crate) fn voted(&mut self, effects: &Effects) {
        for message in &effects.sends {
            if let Body::VoteReply(reply) = &message.body
                && (reply.granted && reply.ballot != Ballot::Pre)
            {
                self.votes.insert((message.term, message.from, message.to));
            }
        }
    }

    fn is_elected(&self, node: &Node, raft: &Raft) -> Result<(), Violation> {
        let votes = |id| id == node.id || self.votes.contains(&(raft.term(), id, node.id));
        let is_elected = has_quorum(raft.membership(), votes);
        ensure(is_elected, "election by a majority", || {
            format!(
                "{} leads term {} without a majority's votes",
                node.id,
                raft.term()
            )
        })
    }
}
