//! Groups in one process, on storage in memory.
#![allow(missing_docs)]

mod common;

use common::{Group, outcome, until};
use little_raft::{ProposeError, ReadError};

#[test]
fn what_is_proposed_on_any_replica_is_read_on_every_replica() {
    let group = Group::new(3);
    for id in 1..=3 {
        let length = outcome(group.at(id).propose(format!("from {id}"))).expect("it is applied");
        assert_eq!(length as u64, id);
    }
    for id in 1..=3 {
        let commands = outcome(group.at(id).read(|journal| journal.commands.clone()));
        assert_eq!(
            commands.expect("it is read"),
            ["from 1", "from 2", "from 3"]
        );
    }
}

#[test]
fn a_single_replica_is_a_majority() {
    let group = Group::new(1);
    assert_eq!(outcome(group.at(1).propose("a")), Ok(1));
    assert_eq!(outcome(group.at(1).read_barrier()), Ok(()));
}

#[test]
fn the_group_goes_on_without_its_leader_and_takes_it_back() {
    let mut group = Group::new(3);
    let leader = group.leader();
    assert_eq!(outcome(group.at(leader).propose("before")), Ok(1));
    group.kill(leader);
    let other = group.follower();
    assert_eq!(outcome(group.at(other).propose("without")), Ok(2));
    group.start(leader);
    let commands = outcome(group.at(leader).read(|journal| journal.commands.clone()));
    assert_eq!(commands.expect("it is read"), ["before", "without"]);
}

#[test]
fn a_proposal_waits_for_a_leader_or_its_deadline() {
    let mut group = Group::with(3, |builder| {
        builder.proposal_timeout(std::time::Duration::from_millis(300))
    });
    let leader = group.leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    group.kill(others[0]);
    group.kill(others[1]);
    until("the leader steps down", || {
        group.at(leader).status().leader.is_none().then_some(())
    });
    assert_eq!(
        outcome(group.at(leader).propose("lost")),
        Err(ProposeError::NoLeader)
    );
    assert_eq!(
        outcome(group.at(leader).read_barrier()),
        Err(ReadError::NoLeader)
    );
    let waiting = group.at(leader).propose("found");
    group.start(others[0]);
    assert_eq!(outcome(waiting), Ok(1));
}
