use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::Member;

fn simple(voters: u64) -> Membership {
    Membership::founders((1..=voters).map(|id| Member::voter(id, "")))
}

/// The slow way to say it: the greatest value that more than half have reached.
fn slowly(voters: &[ReplicaId], values: &[u64]) -> u64 {
    let value = |id: &ReplicaId| values[id.0 as usize];
    let is_reached =
        |least: u64| 2 * voters.iter().filter(|id| value(id) >= least).count() > voters.len();
    values
        .iter()
        .copied()
        .filter(|&least| is_reached(least))
        .max()
        .unwrap_or(0)
}

/// Every way to give each of `count` replicas a value up to 3.
fn all_values(count: u32) -> impl Iterator<Item = Vec<u64>> {
    (0..4u64.pow(count))
        .map(move |code| (0..count).map(|digit| code / 4u64.pow(digit) % 4).collect())
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
                slowly(&membership.incoming, &values),
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
            let ids = |half: &[u64]| half.iter().map(|&id| ReplicaId(id)).collect::<Vec<_>>();
            let (incoming, outgoing) = (ids(incoming), ids(outgoing));
            let membership = Membership {
                version: 1,
                incoming,
                outgoing,
                ..Membership::default()
            };
            for values in all_values(5) {
                let values: Vec<u64> = [vec![0], values].concat();
                let both = slowly(&membership.incoming, &values)
                    .min(slowly(&membership.outgoing, &values));
                assert_eq!(membership.reached(|id| values[id.0 as usize]), both);
            }
        }
    }
}

#[test]
fn p34_learners_are_never_asked() {
    let mut membership = simple(3);
    membership.members.push(Member {
        role: crate::Role::Learner,
        ..Member::voter(9, "")
    });
    let reached = membership.reached(|id| {
        assert_ne!(id, ReplicaId(9), "a learner was asked");
        id.0
    });
    assert_eq!(reached, 2);
}
