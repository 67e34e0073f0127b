use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::Member;

fn simple(voters: u64) -> Membership {
    Membership::founders((1..=voters).map(|id| Member::voter(id, "")))
}

/// The slow way to say it: the greatest value that more than half have reached.
fn slowly(voters: &[u64], values: &[u64]) -> u64 {
    let value = |id: &u64| values[*id as usize];
    let is_reached =
        |least: u64| 2 * voters.iter().filter(|id| value(id) >= least).count() > voters.len();
    let reached = values.iter().copied().filter(|&least| is_reached(least));
    reached.max().unwrap_or(0)
}

/// Every way to give each of `count` replicas a value up to 3.
fn all_values(count: u32) -> impl Iterator<Item = Vec<u64>> {
    (0..4u64.pow(count))
        .map(move |code| (0..count).map(|digit| code / 4u64.pow(digit) % 4).collect())
}

/// Of five, those of `outgoing` vote today and those of `incoming` next.
fn joint(incoming: &[u64], outgoing: &[u64]) -> Membership {
    let role = |half: &[u64], id| half.contains(&id).then_some(Role::Voter);
    let members = (1..=5).map(|id| Member {
        role: role(outgoing, id),
        next_role: role(incoming, id),
        ..Member::voter(id, "")
    });
    Membership::founders(members)
}

#[test]
fn p25_majorities_by_brute_force_up_to_seven_voters() {
    for voters in 1..=7 {
        let membership = simple(voters);
        for values in all_values(voters as u32) {
            let values: Vec<u64> = [vec![0], values].concat();
            let reached = membership.reached(|id| values[id.0 as usize]);
            assert_eq!(
                reached,
                slowly(&(1..=voters).collect::<Vec<_>>(), &values),
                "{voters}: {values:?}"
            );
        }
    }
}

#[test]
fn p25_a_joint_quorum_is_a_quorum_of_both_halves() {
    let halves = [
        vec![1, 2, 3],
        vec![3, 4],
        vec![2, 3, 4, 5],
        vec![5],
        vec![1, 2],
    ];
    for incoming in &halves {
        for outgoing in &halves {
            let membership = joint(incoming, outgoing);
            for values in all_values(5) {
                let values: Vec<u64> = [vec![0], values].concat();
                let both = slowly(incoming, &values).min(slowly(outgoing, &values));
                assert_eq!(membership.reached(|id| values[id.0 as usize]), both);
            }
        }
    }
}

#[test]
fn p34_learners_are_never_asked() {
    let mut membership = simple(3);
    membership.members.push(Member {
        role: Some(Role::Learner),
        next_role: Some(Role::Learner),
        ..Member::voter(9, "")
    });
    let reached = membership.reached(|id| {
        assert_ne!(id, ReplicaId(9), "a learner was asked");
        id.0
    });
    assert_eq!(reached, 2);
}

#[test]
fn settled_is_what_two_full_voters_have_by_brute_force() {
    let enough = |voters: &[u64], values: &[u64]| {
        let mut full: Vec<u64> = voters.iter().map(|id| values[*id as usize]).collect();
        full.sort_unstable();
        full.get(full.len().saturating_sub(2)).copied().unwrap_or(0)
    };
    let halves = [vec![1, 2, 3], vec![3, 4], vec![2], vec![5], vec![1, 2, 5]];
    for incoming in &halves {
        for outgoing in &halves {
            let mut membership = joint(incoming, outgoing);
            membership.members[4].witness = true;
            let full =
                |half: &[u64]| -> Vec<u64> { half.iter().copied().filter(|id| *id != 5).collect() };
            for values in all_values(5) {
                let values: Vec<u64> = [vec![0], values].concat();
                let both = enough(&full(incoming), &values).min(enough(&full(outgoing), &values));
                assert_eq!(membership.settled(|id| values[id.0 as usize]), both);
            }
        }
    }
}
