//! Durability: what is committed or acknowledged survives a power failure of all replicas at that instant.

use little_raft_core::Position;

use super::{Violation, ensure};
use crate::node::Node;

/// A majority of disks, of live and dead replicas alike, must hold the entry.
pub(crate) fn check_durable(nodes: &[Node], position: Position) -> Result<(), Violation> {
    let holders = nodes
        .iter()
        .filter(|node| node.disk.durable.holds(position));
    let count = holders.count();
    ensure(count > nodes.len() / 2, "durability", || {
        format!(
            "{position} counts as committed, but {count} of {} disks hold it",
            nodes.len()
        )
    })
}
