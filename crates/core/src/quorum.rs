//! What a majority has reached. One function decides commits, elections, reads and contact alike.

use crate::{Membership, ReplicaId};

impl Membership {
    /// The largest value that a quorum has reached; during a joint change, a quorum of both halves (rule 5).
    ///
    /// A learner's value is never asked for. Without voters nothing is reached: zero.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        let half = |voters: &[ReplicaId]| {
            let reach = |&id: &ReplicaId| value(id);
            let is_reached = |least: &u64| {
                let count = voters.iter().filter(|id| reach(id) >= *least).count();
                count > voters.len() / 2
            };
            // Few voters: comparing all with all costs less than a sorted list.
            voters
                .iter()
                .map(reach)
                .filter(is_reached)
                .max()
                .unwrap_or(0)
        };
        let incoming = half(&self.incoming);
        if self.outgoing.is_empty() {
            incoming
        } else {
            incoming.min(half(&self.outgoing))
        }
    }

    /// Whether those for whom `holds` is true are a quorum.
    pub fn has_quorum(&self, holds: impl Fn(ReplicaId) -> bool) -> bool {
        self.reached(|id| u64::from(holds(id))) == 1
    }
}

#[cfg(test)]
#[path = "tests/quorum.rs"]
mod tests;
