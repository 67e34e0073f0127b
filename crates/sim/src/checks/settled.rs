//! Witnesses keep payloads until full replicas have them: what a leader calls settled is on two full replicas' disks, and
//! nothing else is dropped, unless the leader's own log no longer has it.

use std::collections::BTreeMap;

use little_raft_core::message::Body;
use little_raft_core::{Member, Membership, Message, Position, Role};

use super::{Committed, Violation, ensure};
use crate::node::{Effects, Node};

#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Up to where each witness was told that it may drop what it has.
    told: BTreeMap<u64, u64>,
}

impl Settled {
    /// A message reaches a replica.
    pub(crate) fn heard(
        &mut self,
        nodes: &[Node],
        message: &Message,
        committed: &Committed,
    ) -> Result<(), Violation> {
        let node = &nodes[message.to.0 as usize - 1];
        if !node.is_witness {
            return Ok(());
        }
        let told = self.told.entry(node.id.0).or_default();
        match &message.body {
            Body::Append(append) if append.settled > *told => {
                *told = append.settled;
                let settled = committed.at(append.settled);
                are_two(nodes, message, settled.unwrap_or_default())
            }
            Body::Snapshot(piece) => {
                *told = piece.base.position.index.max(*told);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A witness's log begins anew.
    pub(crate) fn begins(&self, node: &Node, effects: &Effects) -> Result<(), Violation> {
        let Some(base) = effects.base.as_ref().filter(|_| node.is_witness) else {
            return Ok(());
        };
        let index = base.position.index;
        let told = self.told.get(&node.id.0).copied().unwrap_or_default();
        ensure(index <= told, "witnesses keep what others lack", || {
            format!("{} drops all up to {index}, and was told {told}", node.id)
        })
    }
}

/// Two full replicas have it on their disks, or the only one that votes.
fn are_two(nodes: &[Node], message: &Message, settled: Position) -> Result<(), Violation> {
    let full = nodes.iter().filter(|node| !node.is_witness);
    let count = full.filter(|node| node.disk.durable.holds(settled)).count();
    let disk = &nodes[message.from.0 as usize - 1].disk;
    let mut logs = [&disk.durable, &disk.logical].into_iter();
    let is_alone = count == 1 && logs.any(|log| has_one(log.membership()));
    let is_committed = settled.index > 0;
    ensure(
        is_committed && (count >= 2 || is_alone),
        "witnesses keep what others lack",
        || {
            format!(
                "{} calls {settled} settled, and {count} full replicas have it",
                message.from
            )
        },
    )
}

fn has_one(membership: &Membership) -> bool {
    let full = |role: fn(&Member) -> Option<Role>| {
        let votes = |it: &&Member| !it.witness && role(it) == Some(Role::Voter);
        membership.members.iter().filter(votes).count()
    };
    full(|member| member.role) == 1 || full(|member| member.next_role) == 1
}
