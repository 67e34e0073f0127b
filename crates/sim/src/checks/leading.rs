//! What a leader owes for what it has heard: it commits at once what it knows a quorum to have, and it steps down when
//! no quorum answers (rule 6).

use std::collections::BTreeMap;

use little_raft_core::message::{AppendOutcome, Body};
use little_raft_core::{Message, Raft, ReplicaId, State};

use super::quorum::has_quorum;
use super::{Violation, ensure};
use crate::node::Node;
use crate::weather::MILLI;

/// More than the longest election timeout and heartbeat, whatever the timing was when a beat was planned.
const PATIENCE: u64 = 800 * MILLI;

/// What is known of a peer that the leader has as a member.
#[derive(Debug)]
struct Peer {
    boot: u64,
    heard: u64,
    matched: u64,
}

/// One replica's time as a leader.
#[derive(Debug)]
struct Reign {
    term: u64,
    boot: u64,
    peers: BTreeMap<ReplicaId, Peer>,
}

#[derive(Debug, Default)]
pub(crate) struct Leading {
    reigns: BTreeMap<ReplicaId, Reign>,
}

impl Leading {
    /// A message has reached a replica that leads.
    pub(crate) fn heard(&mut self, now: u64, message: &Message) {
        let reign = self.reigns.get_mut(&message.to);
        let Some(reign) = reign.filter(|reign| reign.term == message.term) else {
            return;
        };
        let Some(peer) = reign.peers.get_mut(&message.from) else {
            return;
        };
        if message.boot < peer.boot {
            return;
        }
        if message.boot > peer.boot {
            // What was believed about it is forgotten.
            (peer.boot, peer.matched) = (message.boot, 0);
        }
        if let Body::AppendReply(reply) = &message.body {
            peer.heard = now;
            if let AppendOutcome::Matched(index) = reply.outcome {
                peer.matched = peer.matched.max(index);
            }
        }
    }

    pub(crate) fn stepped(&mut self, now: u64, node: &Node, raft: &Raft) -> Result<(), Violation> {
        if raft.state() != State::Leader {
            self.reigns.remove(&node.id);
            return Ok(());
        }
        let (term, boot) = (raft.term(), node.boot);
        let reign = self.reigns.entry(node.id).or_insert(Reign {
            term,
            boot,
            peers: BTreeMap::new(),
        });
        if (reign.term, reign.boot) != (term, boot) {
            (reign.term, reign.boot) = (term, boot);
            reign.peers.clear();
        }
        let members = raft.membership();
        reign.peers.retain(|id, _| members.member(*id).is_some());
        for member in &members.members {
            reign.peers.entry(member.id).or_insert(Peer {
                boot: 0,
                heard: now,
                matched: 0,
            });
        }
        reign.commits_at_once(node, raft)?;
        reign.has_contact(now, node, raft)
    }
}

impl Reign {
    fn commits_at_once(&self, node: &Node, raft: &Raft) -> Result<(), Violation> {
        let last = raft.last().index;
        let has = |id, index| match id == node.id {
            true => raft.durable() >= index,
            false => (index..=last).contains(&self.peers[&id].matched),
        };
        let mut candidates: Vec<u64> = self.peers.values().map(|peer| peer.matched).collect();
        candidates.push(raft.durable());
        candidates
            .retain(|&index| index > raft.committed() && raft.term_at(index) == Some(raft.term()));
        let late = candidates
            .into_iter()
            .find(|&index| has_quorum(raft.membership(), |id| has(id, index)));
        ensure(late.is_none(), "commits at once", || {
            format!(
                "{} has not committed {late:?}, which it knows a quorum to have",
                node.id
            )
        })
    }

    /// The leader counts from when what was answered was sent, which is earlier than anything seen here.
    fn has_contact(&self, now: u64, node: &Node, raft: &Raft) -> Result<(), Violation> {
        let awake = now.saturating_sub(node.paused_until) > 20 * MILLI;
        let is_heard = |id| id == node.id || self.peers[&id].heard + PATIENCE >= now;
        let has_contact = has_quorum(raft.membership(), is_heard);
        ensure(has_contact || !awake, "contact", || {
            format!(
                "{} leads on, though no quorum has answered it for {PATIENCE} ns",
                node.id
            )
        })
    }
}
