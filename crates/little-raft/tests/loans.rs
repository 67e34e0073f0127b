//! Snapshots over TCP from a follower. How much of one it sent is known from how little the leader can have sent, which is
//! slow.
#![allow(missing_docs)]

mod common;

use std::time::Instant;

use common::straggler::{Group, STATE_BYTES, STRAGGLER, assert_caught_up, fill, leader};
use common::{Journal, until};
use little_raft::{Replica, ReplicaId};

/// Who leads, and who lends.
const LEADER: u64 = 1;
const LENDER: u64 = 2;

/// A leader that sends snapshots at this rate, and a follower that has the same state.
fn pair(group: &Group, rate: u64) -> [Replica<Journal>; 2] {
    let slow = group.start_with(LEADER, Journal::default(), |it| it.snapshot_rate(rate));
    let pair = fill([slow, group.start(LENDER, Journal::default())]);
    until("the slow one leads", || {
        let at = leader(&pair.each_ref());
        let _it_may_just_be_elected = pair[at].transfer_leadership(Some(ReplicaId(LEADER)));
        (at == 0).then_some(())
    });
    pair
}

fn straggler(group: &Group) -> Replica<Journal> {
    group.start_with(STRAGGLER, Journal::default(), |it| it.nearest([LENDER]))
}

#[test]
fn a_snapshot_comes_from_the_nearest() {
    let group = Group::new("loans-nearest");
    let rate = STATE_BYTES / 100;
    let pair = pair(&group, rate);
    let begun = Instant::now();
    let straggler = straggler(&group);
    assert_caught_up(&straggler, &pair[0]);
    let by_leader = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
    assert!(by_leader < STATE_BYTES / 10, "the leader may have sent it");
    group.assert_little_came_twice();
}

#[test]
fn the_leader_goes_on_with_what_a_lender_had_begun() {
    let group = Group::new("loans-lender-lost");
    let rate = STATE_BYTES / 4;
    let pair = pair(&group, rate);
    let begun = Instant::now();
    let straggler = straggler(&group);
    until("half of it has come", || {
        (group.proxy.passed() > STATE_BYTES / 2).then_some(())
    });
    let by_leader = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
    assert!(by_leader < STATE_BYTES / 4, "the leader may have sent it");
    let [leader, lender] = pair;
    drop(lender);
    assert_caught_up(&straggler, &leader);
    group.assert_little_came_twice();
}
