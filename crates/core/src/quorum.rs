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
        let majority = |count: usize| planted!(P25, count.div_ceil(2), count / 2 + 1);
        self.reached_by(majority, |_| true, value)
    }

    /// The largest value that two voters who are no witnesses have reached, or all of them, where there are fewer; during
    /// a joint change, in both halves.
    pub(crate) fn settled(&self, value: impl Fn(ReplicaId) -> u64) -> u64 {
        self.reached_by(|count| count.min(2), |member| !member.witness, value)
    }

    fn reached_by(
        &self,
        enough: impl Fn(usize) -> usize,
        counts: impl Fn(&Member) -> bool,
        value: impl Fn(ReplicaId) -> u64,
    ) -> u64 {
        let half = |role: fn(&Member) -> Option<Role>| {
            let votes = |it: &Member| role(it) == Some(Role::Voter) && counts(it);
            self.half(votes, &enough, &value)
        };
        let today = half(|member| member.role);
        match self.is_joint() {
            true => today.min(half(|member| member.next_role)),
            false => today,
        }
    }

    /// The largest value that enough of those who vote have reached.
    fn half(
        &self,
        votes: impl Fn(&Member) -> bool,
        enough: impl Fn(usize) -> usize,
        value: impl Fn(ReplicaId) -> u64,
    ) -> u64 {
        let voters = self.members.iter().filter(|it| votes(it));
        let (mut few, mut many) = ([0; FEW], Vec::new());
        let count = voters.clone().count();
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
        values
            .get(enough(count).wrapping_sub(1))
            .copied()
            .unwrap_or(0)
    }

    /// Whether those for whom `holds` is true are a quorum.
    pub fn has_quorum(&self, holds: impl Fn(ReplicaId) -> bool) -> bool {
        self.reached(|id| u64::from(holds(id))) == 1
    }
}

#[cfg(test)]
#[path = "tests/quorum.rs"]
mod tests;
