//! Leader completeness, before anybody leads: by the disks as they are, nobody can win an election who lacks what has
//! just been committed (Raft, section 5.4.1).

use little_raft_core::{Position, ReplicaId};

use super::quorum::{has_quorum, is_voter};
use super::{Violation, ensure};
use crate::node::Node;

pub(crate) fn check_electable(nodes: &[Node], committed: Position) -> Result<(), Violation> {
    let lacking = |node: &&Node| !node.disk.durable.holds(committed);
    let winner = nodes
        .iter()
        .filter(lacking)
        .find(|node| is_electable(nodes, node));
    ensure(winner.is_none(), "leader completeness", || {
        let winner = winner.map(|node| node.id.0);
        format!("{committed} counts as committed, and {winner:?} lacks it and could be elected")
    })
}

/// Whether a majority, as this replica counts it, would grant it their votes.
fn is_electable(nodes: &[Node], node: &Node) -> bool {
    let log = &node.disk.durable;
    let (members, last) = (log.membership(), log.last_position());
    let grants = |id: ReplicaId| {
        let voter = &nodes[id.0 as usize - 1];
        last >= voter.disk.durable.last_position()
    };
    is_voter(members, node.id) && has_quorum(members, grants)
}
