//! What a majority has reached. One function decides commits, elections, reads and contact alike.

use alloc::vec::Vec;

use crate::{Membership, ReplicaId};

/// So many voters are counted without allocating.
const FEW: usize = 7;

impl Membership {
    /// The largest value that a quorum has reached; during a joint change, a quorum of both halves (rule 5).
    ///
    /// A learner's value is never asked for. Without voters nothing is reached: zero.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        let half = |voters: &[ReplicaId]| {
            let (mut few, mut many) = ([0; FEW], Vec::new());
            let values = if voters.len() <= FEW {
                &mut few[..voters.len()]
            } else {
                many.resize(voters.len(), 0);
                &mut many[..]
            };
            for (at, &id) in values.iter_mut().zip(voters) {
                *at = value(id);
            }
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.get(voters.len() / 2).copied().unwrap_or(0)
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
