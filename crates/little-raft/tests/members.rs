//! Members come and go: on real disks, over real sockets, while commands go on.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Dir, Group, Journal, members, outcome, timing, until};
use little_raft::{
    ChangeError, MemberChange, MembersError, ProposeError, Replica, ReplicaId, Role, State,
    StopReason,
};

fn found(id: u64, members: &[(u64, String)], dir: &Path) -> Replica<Journal> {
    let builder = Replica::builder(id).members(members.to_vec());
    let builder = builder.data_dir(dir.join(id.to_string())).timing(timing());
    builder.start(Journal::default()).expect("it starts")
}

fn join(id: u64, members: &[(u64, String)], dir: &Path) -> Replica<Journal> {
    let builder = Replica::builder(id).join(members.to_vec());
    let builder = builder.data_dir(dir.join(id.to_string())).timing(timing());
    builder.start(Journal::default()).expect("it starts")
}

fn commands(replica: &Replica<Journal>) -> Vec<String> {
    outcome(replica.read(|journal| journal.commands.clone())).expect("it is read")
}

fn voters(replica: &Replica<Journal>) -> Vec<u64> {
    let status = replica.status();
    let voters = status.members.iter();
    let voters = voters.filter(|member| member.role == Some(Role::Voter));
    voters.map(|member| member.id.0).collect()
}

fn leader(group: &[&Replica<Journal>]) -> ReplicaId {
    until("a leader", || {
        group.iter().find_map(|it| it.status().leader)
    })
}

/// Five founders give way to five new replicas, one by one, under load; in the end nobody knows a founder.
#[test]
fn a_group_is_rolled_to_new_replicas_under_load() {
    const COUNT: usize = 5;
    let dir = Dir::new("rolled");
    let everybody = members(2 * COUNT as u64);
    let mut members = everybody[..COUNT].to_vec();
    let mut group: Vec<Replica<Journal>> = members
        .iter()
        .map(|(id, _)| found(*id, &members, &dir.0))
        .collect();
    leader(&group.iter().collect::<Vec<_>>());

    members.push(everybody[COUNT].clone());
    let newest = join(COUNT as u64 + 1, &members, &dir.0);
    group.push(newest.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let stop = stop.clone();
        thread::spawn(move || propose_until(&stop, &newest))
    };
    for old in 1..=COUNT {
        let (new, at) = &everybody[old + COUNT - 1];
        let another = MemberChange::new().add(*new, at.clone());
        outcome(group[1].change_members(another)).expect("it joins");
        let away = MemberChange::new().remove(old as u64);
        let left = outcome(group[COUNT].change_members(away)).expect("it leaves");
        assert!(left.member(ReplicaId(old as u64)).is_none());
        let gone = group.remove(0);
        let reason = until("the removed replica stops", || gone.stopped());
        assert_eq!(reason, StopReason::Removed);
        members.remove(0);
        if let Some(next) = everybody.get(old + COUNT) {
            members.push(next.clone());
            group.push(join(next.0, &members, &dir.0));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = load.join().expect("no panic");
    assert!(acknowledged.len() > 10, "{} commands", acknowledged.len());
    let ids: Vec<u64> = everybody[COUNT..].iter().map(|(id, _)| *id).collect();
    for replica in &group {
        until("all vote", || (voters(replica) == ids).then_some(()));
        let mut there = commands(replica);
        let count = there.len();
        there.sort();
        assert!(
            acknowledged
                .iter()
                .all(|it| there.binary_search(it).is_ok())
        );
        there.dedup();
        assert_eq!(there.len(), count, "applied twice");
    }
    // They remember who they are, and need nobody to tell them which cluster they joined.
    drop(group);
    let group: Vec<_> = ids.iter().map(|id| join(*id, &members, &dir.0)).collect();
    assert_eq!(voters(&group[0]), ids);
    outcome(group[0].propose("on")).expect("the group goes on");
}

/// What was acknowledged.
fn propose_until(stop: &AtomicBool, replica: &Replica<Journal>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let command = format!("command {number}");
        match outcome(replica.propose(command.clone())) {
            Ok(_) => acknowledged.push(command),
            Err(ProposeError::Unknown | ProposeError::NotApplied | ProposeError::NoLeader) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

#[test]
fn a_leader_that_removes_itself_hands_over_and_stops() {
    let group = Group::new(3);
    let leader = group.leader();
    let removed = group
        .at(leader)
        .change_members(MemberChange::new().remove(leader));
    let left = outcome(removed).expect("it leaves");
    assert_eq!(left.members.len(), 2);
    let reason = until("it stops", || group.at(leader).stopped());
    assert_eq!(reason, StopReason::Removed);
    assert!(!reason.is_failure());
    assert_eq!(
        outcome(group.at(leader).propose("x")),
        Err(ProposeError::Stopped)
    );
    let other = if leader == 1 { 2 } else { 1 };
    outcome(group.at(other).propose("on")).expect("the others go on");
}

#[test]
fn what_cant_be_changed_is_refused_with_the_reason() {
    let group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    outcome(group.at(leader).propose("x")).expect("it leads");
    let version = until("the data directories are bound", || {
        let status = group.at(follower).status();
        let bound = status.members.iter().all(|it| it.incarnation.is_some());
        bound.then_some(status.members_version)
    });
    let soon = || MemberChange::new().within(Duration::from_secs(5));
    let refused = [
        (soon().remove(9), "replica 9 is no member"),
        (soon().add(3, "other"), "replica 3 is a member already"),
        (
            soon().remove(1).remove(2).remove(3),
            "nobody would be left to vote",
        ),
        (soon().promote(8), "replica 8 is no member"),
        (
            soon().remove(3).expecting(version + 7),
            "no longer at version",
        ),
        (soon().add(7, ""), "is the address of replica 1"),
    ];
    for (change, text) in refused {
        for id in [leader, follower] {
            let error = outcome(group.at(id).change_members(change.clone()));
            let error = error.expect_err("it can't be done");
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.to_string().contains("nothing was changed"), "{error}");
        }
    }
    assert_eq!(group.at(leader).status().members_version, version);
    // Nobody of that name ever starts: it joins, and is no voter.
    let change = MemberChange::new()
        .add(4, "nobody")
        .within(Duration::from_millis(500));
    let error = outcome(group.at(follower).change_members(change));
    let members = vec![ReplicaId(4)];
    assert_eq!(error, Err(MembersError::NotCaughtUp { members }));
    let error = outcome(group.at(leader).change_members(soon().promote(4)));
    let lags = matches!(
        error,
        Err(MembersError::Refused(ChangeError::Lags(ReplicaId(4), _)))
    );
    assert!(lags, "{error:?}");
    outcome(group.at(leader).change_members(soon().remove(4))).expect("it is removed");
}

#[test]
fn leadership_returns_to_the_preferred_and_timing_is_one_for_all() {
    let mut group = Group::new(3);
    let (leader, preferred) = (group.leader(), group.follower());
    let prefer = MemberChange::new().set_priority(preferred, 5);
    outcome(group.at(leader).change_members(prefer)).expect("it is changed");
    until("it leads", || (group.leader() == preferred).then_some(()));
    group.kill(preferred);
    let other = group.leader();
    outcome(group.at(other).propose("x")).expect("the others go on");
    group.start(preferred);
    until("it leads again", || {
        let status = group.at(preferred).status();
        (status.state == State::Leader).then_some(())
    });
    let slow = little_raft::Timing {
        heartbeat: Duration::from_millis(70),
        election: Duration::from_millis(900),
    };
    let change = MemberChange::new().set_timing(slow);
    let changed = outcome(group.at(other).change_members(change)).expect("it is changed");
    assert_eq!(changed.timing, Some(slow));
}

#[test]
fn a_leader_that_stops_hands_over_first() {
    let slow = little_raft::Timing {
        heartbeat: Duration::from_millis(100),
        election: Duration::from_secs(8),
    };
    let mut group = Group::new(3);
    let change = MemberChange::new().set_timing(slow);
    let leader = group.leader();
    outcome(group.at(leader).change_members(change)).expect("it is changed");
    let begun = Instant::now();
    group.kill(leader);
    let successor = group.leader();
    assert_ne!(successor, leader);
    outcome(group.at(successor).propose("on")).expect("it leads");
    let took = begun.elapsed();
    assert!(took < slow.election, "an election takes as long: {took:?}");
}

/// Who adds a member before it starts it can't wait for it to vote.
#[test]
fn an_addition_can_end_once_it_is_committed() {
    let group = Group::new(3);
    let change = MemberChange::new().add(4, "nobody").once_committed();
    let joined = outcome(group.at(group.follower()).change_members(change)).expect("it joins");
    let member = joined.member(ReplicaId(4)).expect("it is a member");
    assert!(member.promote_when_caught_up);
    assert!(!joined.is_voter(ReplicaId(4)));
}
