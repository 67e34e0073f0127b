//! What a majority has reached. One function decides commits, elections, reads and contact alike.

use crate::{Member, Membership, ReplicaId, Role};

impl Membership {
    /// The largest value that a quorum has reached; during a joint change, a quorum of both halves (rule 5).
    ///
    /// A learner's value is never asked for. Without voters nothing is reached: zero.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        let today = self.half(|member| member.role, &value);
        match self.is_joint() {
            true => today.min(self.half(|member| member.next_role, &value)),
            false => today,
        }
    }

    /// The largest value that more than half of those who vote by this role have reached.
    fn half(&self, role: fn(&Member) -> Option<Role>, value: impl Fn(ReplicaId) -> u64) -> u64 {
        let voters = || {
            self.members
                .iter()
                .filter(|it| role(it) == Some(Role::Voter))
        };
        let values = || voters().map(|member| value(member.id));
        let majority = voters().count() / 2 + 1;
        let most = |least: &u64| values().filter(|value| value >= least).count() >= majority;
        values().filter(most).max().unwrap_or(0)
    }

    /// Whether those for whom `holds` is true are a quorum.
    pub fn has_quorum(&self, holds: impl Fn(ReplicaId) -> bool) -> bool {
        self.reached(|id| u64::from(holds(id))) == 1
    }
}

#[cfg(test)]
#[path = "tests/quorum.rs"]
mod tests;
