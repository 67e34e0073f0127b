//! Snapshots over TCP whose way is cut in the middle: what has arrived is not sent again.
#![allow(missing_docs)]

mod common;

use common::durable::{Counter, Disk};
use common::straggler::{Group, STATE_BYTES, STRAGGLER, assert_caught_up, filled, leader};
use common::{Journal, outcome, until};
use little_raft::{ReplicaId, State};

#[test]
fn a_snapshot_goes_on_after_its_receiver_has_restarted() {
    let group = Group::new("resume-restart");
    let pair = filled(&group);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.cut_in_the_middle();
    drop(straggler);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.proxy.mend();
    assert_caught_up(&straggler, &pair[0]);
    group.assert_little_came_twice();
}

#[test]
fn a_snapshot_goes_on_under_another_leader_that_has_the_same() {
    let group = Group::new("resume-leader");
    let pair = filled(&group);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.cut_in_the_middle();
    let before = leader(&pair.each_ref());
    let next = ReplicaId(2 - before as u64);
    until("the other leads", || {
        pair[before]
            .transfer_leadership(Some(next))
            .expect("it may lead");
        (pair[1 - before].status().state == State::Leader).then_some(())
    });
    group.proxy.mend();
    assert_caught_up(&straggler, &pair[0]);
    group.assert_little_came_twice();
}

#[test]
fn a_view_that_is_written_as_it_is_sent_goes_on_too() {
    let group = Group::new("resume-view");
    let disks = [(); 3].map(|()| Disk::default());
    let start = |id: u64| {
        let machine = Counter {
            padding: STATE_BYTES as usize,
            ..Counter::open(&disks[id as usize - 1])
        };
        group.start(id, machine)
    };
    let pair = [start(1), start(2)];
    // A durable machine is asked every 1,000 entries what of the log it no longer needs.
    let mut total = 0;
    for _ in 0..2_500 {
        total += 1;
        assert_eq!(outcome(pair[0].propose("+1")), Ok(total));
    }
    let straggler = start(STRAGGLER);
    group.cut_in_the_middle();
    drop(straggler);
    let straggler = start(STRAGGLER);
    group.proxy.mend();
    let seen = outcome(straggler.read(|counter| (counter.count, counter.applied_here)));
    let (count, applied) = seen.expect("it is read");
    assert_eq!(count, total);
    assert!(applied < total, "it came by a view");
    group.assert_little_came_twice();
}
