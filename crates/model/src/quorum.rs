//! Majorities, counted without the code under test.

use little_raft_core::{Member, Membership, ReplicaId, Role};

/// Whether those for whom `holds` is true are a majority of the voters; during a change, of both halves.
pub(crate) fn has_quorum(membership: &Membership, holds: impl Fn(ReplicaId) -> bool) -> bool {
    let has_majority = |role: fn(&Member) -> Option<Role>| {
        let voters = membership.members.iter();
        let voters = voters.filter(|member| role(member) == Some(Role::Voter));
        let (count, held) = voters.fold((0, 0), |(count, held), voter| {
            (count + 1, held + usize::from(holds(voter.id)))
        });
        2 * held > count
    };
    has_majority(|member| member.role) && has_majority(|member| member.next_role)
}

/// Whether this one votes, in either half.
pub(crate) fn is_voter(membership: &Membership, id: ReplicaId) -> bool {
    let voter = Some(Role::Voter);
    let mut members = membership.members.iter();
    members.any(|it| it.id == id && (it.role == voter || it.next_role == voter))
}
