//! Durability: what is committed or acknowledged survives a power failure of all replicas at that instant.

use little_raft_core::{Position, Raft};

use super::quorum::has_quorum;
use super::{Violation, ensure};
use crate::node::Node;

/// A majority of disks, of live and dead replicas alike, must hold the entry: of those who vote where it was committed
/// first, in both halves.
pub(crate) fn check_durable(
    nodes: &[Node],
    raft: &Raft,
    position: Position,
) -> Result<(), Violation> {
    let holds = |node: &Node| node.disk.durable.holds(position);
    let held = has_quorum(raft.membership(), |id| holds(&nodes[id.0 as usize - 1]));
    ensure(held, "durability", || {
        let holders: Vec<u64> = nodes
            .iter()
            .filter(|node| holds(node))
            .map(|node| node.id.0)
            .collect();
        format!(
            "{position} counts as committed, but only {holders:?} hold it, in {:?}",
            raft.membership()
        )
    })
}
