//! Majorities, counted without the code under test.

use little_raft_core::{Member, Membership, ReplicaId, Role};

/// Whether those for whom `holds` is true are a majority of the voters; during a change, of both halves.
pub(crate) fn has_quorum(membership: &Membership, holds: impl Fn(ReplicaId) -> bool) -> bool {
    let has_majority = |role: fn(&Member) -> Option<Role>| {
        let (mut voters, mut held) = (0, 0);
        for member in &membership.members {
            if role(member) == Some(Role::Voter) {
                voters += 1;
                held += u64::from(holds(member.id));
            }
        }
        2 * held > voters
    };
    has_majority(|member| member.role) && has_majority(|member| member.next_role)
}

/// Whether this one votes, in either half.
pub(crate) fn is_voter(membership: &Membership, id: ReplicaId) -> bool {
    let mut members = membership.members.iter();
    let voter = Some(Role::Voter);
    members.any(|it| it.id == id && (it.role == voter || it.next_role == voter))
}
