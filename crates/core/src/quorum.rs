//! What a majority has reached. One function decides commits, elections, reads and contact alike.

use crate::{Membership, ReplicaId};

impl Membership {
    /// The largest value that a quorum has reached; during a joint change, a quorum of both halves (rule 5).
    ///
    /// A learner's value is never asked for. Without voters nothing is reached: zero.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        let most_of = |voters: &[ReplicaId], least| {
            voters.iter().filter(|&&id| value(id) >= least).count() > voters.len() / 2
        };
        let half = |voters: &[ReplicaId]| {
            let values = voters.iter().map(|&id| value(id));
            values
                .filter(|&least| most_of(voters, least))
                .max()
                .unwrap_or(0)
        };
        match self.outgoing.is_empty() {
            true => half(&self.incoming),
            false => half(&self.incoming).min(half(&self.outgoing)),
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
