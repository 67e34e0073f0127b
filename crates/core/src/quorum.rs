//! What a majority has reached. One function decides commits, elections, reads and contact alike.

use alloc::vec::Vec;

use crate::plant::planted;
use crate::{Member, Membership, ReplicaId, Role};

/// So many voters are counted without allocating.
const FEW: usize = 7;

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
    fn half(
        &self,
        role: impl Fn(&Member) -> Option<Role>,
        value: impl Fn(ReplicaId) -> u64,
    ) -> u64 {
        let voters = self.members.iter();
        let voters = voters.filter(|it| role(it) == Some(Role::Voter));
        let (mut few, mut many) = ([0; FEW], Vec::new());
        let count = voters.clone().count();
        let majority = planted!(P25, count.div_ceil(2), count / 2 + 1);
        let values = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, 0);
                &mut many
            }
        };
        values
            .iter_mut()
            .zip(voters)
            .for_each(|(at, it)| *at = value(it.id));
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(majority.wrapping_sub(1)).copied().unwrap_or(0)
    }

    /// Whether those for whom `holds` is true are a quorum.
    pub fn has_quorum(&self, holds: impl Fn(ReplicaId) -> bool) -> bool {
        self.reached(|id| u64::from(holds(id))) == 1
    }
}

#[cfg(test)]
#[path = "tests/quorum.rs"]
mod tests;
