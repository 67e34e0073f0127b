//! Groups in one process, on storage in memory.
#![allow(missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Group, Journal, outcome, until};
use little_raft::{Builder, Conditions, ProposeError, ProposeOptions, ReadError, Storage};

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

/// Pitfall 39: to know how far to apply is not enough; the machine must have got there.
#[test]
fn p39_a_read_waits_until_its_own_replica_has_applied() {
    let mut group = Group::new(3);
    let (leader, slow) = (group.leader(), group.follower());
    group.kill(slow);
    let machine = Journal {
        slow: Duration::from_millis(300),
        ..Journal::default()
    };
    group.start_with(slow, machine, |builder| builder);
    let has_all = || {
        let (status, leaders) = (group.at(slow).status(), group.at(leader).status());
        let bound = status.members.iter().all(|it| it.incarnation.is_some());
        (bound && status.applied == leaders.last).then_some(())
    };
    until("the leader's own entries are applied", has_all);
    // A machine that is known to be slow holds nobody up.
    assert_eq!(outcome(group.at(leader).propose("slow")), Ok(1));
    until("it has found itself slow", has_all);
    assert_eq!(outcome(group.at(leader).propose("slow")), Ok(2));
    for count in 3..=30 {
        assert_eq!(outcome(group.at(leader).propose("more")), Ok(count));
    }
    let count = outcome(group.at(slow).read(|journal| journal.commands.len()));
    assert_eq!(count, Ok(30));
}

#[test]
fn a_straggler_catches_up_by_a_snapshot() {
    let quick = |builder: little_raft::Builder<Journal>| builder.snapshot_entries(50);
    let mut group = Group::with(3, quick);
    let straggler = group.follower();
    group.kill(straggler);
    let leader = group.leader();
    let long = "x".repeat(20_000);
    for i in 0..400 {
        let applied = outcome(group.at(leader).propose(format!("{i} {long}")));
        assert_eq!(applied, Ok(i + 1));
    }
    until("the log is compacted", || {
        let reader = little_raft::Storage::reader(&group.storages[leader as usize - 1]);
        reader.entries(1, 1, 1).is_err().then_some(())
    });
    group.start_with(straggler, common::Journal::default(), quick);
    let seen = outcome(
        group
            .at(straggler)
            .read(|journal| (journal.commands.len(), journal.restored)),
    );
    assert_eq!(seen, Ok((400, 1)));
    assert_eq!(outcome(group.at(straggler).propose("after")), Ok(401));
}

#[test]
fn all_start_again_on_what_they_remember() {
    let mut group = Group::with(3, |builder| builder.snapshot_entries(30));
    let leader = group.leader();
    for i in 0..100 {
        assert_eq!(outcome(group.at(leader).propose(format!("{i}"))), Ok(i + 1));
    }
    for id in 1..=3 {
        group.kill(id);
    }
    for id in 1..=3 {
        group.start(id);
    }
    for id in 1..=3 {
        let count = outcome(group.at(id).read(|journal| journal.commands.len()));
        assert_eq!(count, Ok(100));
    }
}

#[test]
fn leadership_is_handed_over_and_watched() {
    let group = Group::new(3);
    let leader = group.leader();
    let mut watch = group.at(leader).watch_status();
    let first = outcome(watch.next()).expect("it runs");
    assert_eq!(first.id.0, leader);
    let to = group.follower();
    group
        .at(leader)
        .transfer_leadership(Some(to.into()))
        .expect("it votes");
    let seen = loop {
        let status = outcome(watch.next()).expect("it runs");
        if status.leader == Some(to.into()) {
            break status;
        }
    };
    assert_eq!(seen.state, little_raft::State::Follower);
    assert_eq!(outcome(group.at(leader).propose("forwarded")), Ok(1));
    group.at(leader).stop();
    let last = loop {
        let status = outcome(watch.next()).expect("the end is told first");
        if status.stopped.is_some() {
            break status;
        }
    };
    assert_eq!(last.stopped, Some(little_raft::StopReason::Requested));
    assert_eq!(outcome(watch.next()), Err(little_raft::WatchEnded));
}

#[test]
fn timing_changes_while_it_runs() {
    let group = Group::new(3);
    let leader = group.leader();
    let slow = little_raft::Timing {
        heartbeat: std::time::Duration::from_secs(1),
        election: std::time::Duration::from_secs(30),
    };
    for replica in group.running() {
        replica.set_timing(slow).expect("they fit");
    }
    let useless = little_raft::Timing {
        heartbeat: slow.election,
        election: slow.heartbeat,
    };
    group
        .at(leader)
        .set_timing(useless)
        .expect_err("they don't");
    assert_eq!(outcome(group.at(leader).propose("on")), Ok(1));
}

#[test]
fn a_snapshot_takes_the_time_it_is_given() {
    let slowly = |builder: Builder<Journal>| builder.snapshot_entries(20).snapshot_rate(500_000);
    let mut group = Group::with(3, slowly);
    let straggler = group.follower();
    group.kill(straggler);
    let leader = group.leader();
    let log = group.storages[leader as usize - 1].reader();
    let mut count = 0;
    // The straggler might still come back: for an election timeout the log is kept for it.
    until("the log begins after what it has", || {
        count += 1;
        let command = format!("{count:0>4000}");
        outcome(group.at(leader).propose(command)).expect("a majority is up");
        (count >= 100 && log.entries(10, 10, 1).is_err()).then_some(())
    });
    let begun = Instant::now();
    group.start_with(straggler, Journal::default(), slowly);
    until("it has caught up", || {
        let restored = outcome(group.at(straggler).read_stale(|it| it.commands.len())).ok()?;
        (restored.value >= count).then_some(())
    });
    let (took, least) = (begun.elapsed(), Duration::from_millis(400));
    assert!(took > least, "{took:?} for more than 300 kB at 500 kB/s");
}

#[test]
fn a_token_reads_what_was_written_on_any_replica() {
    let soon = |builder: Builder<Journal>| builder.proposal_timeout(Duration::from_secs(1));
    let group = Group::with(3, soon);
    let (leader, follower) = (group.leader(), group.follower());
    for number in 1..=50 {
        outcome(group.at(leader).propose(format!("{number}"))).expect("it is applied");
        let token = group.at(leader).status().applied;
        let read = group
            .at(follower)
            .read_at_least(token, |it| it.commands.len());
        assert_eq!(outcome(read), Ok(number));
    }
    let index = group.at(leader).status().last + 1_000;
    let error = outcome(group.at(follower).read_at_least(index, |_| ()));
    assert_eq!(error, Err(ReadError::NotReached { index }));
    let text = error.expect_err("it is of the future").to_string();
    assert!(text.contains(&format!("index {index}")), "{text}");
}

#[test]
fn a_stale_read_says_how_stale_it_may_be() {
    let mut group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    outcome(group.at(leader).propose("x")).expect("it is applied");
    let token = group.at(leader).status().applied;
    outcome(group.at(follower).read_at_least(token, |_| ())).expect("it is applied there");
    let stale = || outcome(group.at(follower).read_stale(|it| it.commands.len()));
    let fresh = stale().expect("it is read");
    assert_eq!(fresh.value, 1);
    assert!(fresh.applied >= token);
    let others = [1, 2, 3].into_iter().filter(|id| *id != follower);
    others.for_each(|id| group.replicas[id as usize - 1] = None);
    let alone = until("it is out of contact", || {
        let read = outcome(group.at(follower).read_stale(|it| it.commands.len()));
        let read = read.expect("it is read without anybody");
        (read.out_of_contact > Duration::from_millis(300)).then_some(read)
    });
    assert_eq!(alone.value, 1);
}

/// The round is left out: followers that say nothing for a while don't hold a read up.
#[test]
fn a_leader_reads_on_the_word_of_the_others() {
    let (longest, drift) = (Duration::from_secs(2), Duration::from_millis(1));
    let slow = little_raft::Timing {
        heartbeat: Duration::from_millis(20),
        election: Duration::from_secs(2),
    };
    let leases = |builder: Builder<Journal>| {
        let builder = builder.timing(slow).lease_reads(longest, drift);
        builder.proposal_timeout(Duration::from_secs(20))
    };
    let mut group = Group::with(3, leases);
    let leader = until("a leader", || {
        let mut running = group.running();
        let leader = running.find(|it| it.status().state == little_raft::State::Leader);
        leader.map(|it| it.id().0)
    });
    outcome(group.at(leader).propose("x")).expect("it is applied");
    until("all have promised", || {
        let applied = |id| group.at(id).status().applied;
        let all = [1, 2, 3].map(applied);
        (all == [all[0]; 3]).then_some(())
    });
    let others = [1, 2, 3].into_iter().filter(|id| *id != leader);
    others.for_each(|id| group.replicas[id as usize - 1] = None);
    let begun = Instant::now();
    let read = outcome(group.at(leader).read(|it| it.commands.len()));
    assert_eq!(read, Ok(1), "after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody was asked");
}

#[test]
fn a_proposal_whose_condition_fails_is_not_applied() {
    let group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    until("the data directories are bound", || {
        // The follower may hear of it before the leader has shown it.
        let both = [leader, follower].map(|id| group.at(id).status());
        let are_bound = both.iter().all(|status| {
            let mut members = status.members.iter();
            members.all(|it| it.incarnation.is_some()) && status.applied == both[0].last
        });
        are_bound.then_some(())
    });
    let status = group.at(leader).status();
    let (version, last) = (status.members_version, status.last);
    let none = Conditions::default();
    let term = |leader_term| Conditions {
        leader_term,
        ..none
    };
    let members = |members_version| Conditions {
        members_version,
        ..none
    };
    let index = |index_max| Conditions { index_max, ..none };
    let fail = [
        term(Some(status.term + 1)),
        members(Some(version + 1)),
        index(Some(last)),
    ];
    let hold = [
        none,
        term(Some(status.term)),
        members(Some(version)),
        index(Some(last + 9)),
    ];
    let only_if = |conditions| ProposeOptions {
        conditions,
        ..ProposeOptions::default()
    };
    for id in [leader, follower] {
        for conditions in fail {
            let outcome = outcome(group.at(id).propose_with("never", only_if(conditions)));
            assert_eq!(
                outcome,
                Err(ProposeError::ConditionFailed),
                "{conditions:?}"
            );
        }
    }
    for (count, conditions) in hold.into_iter().enumerate() {
        let outcome = outcome(group.at(follower).propose_with("once", only_if(conditions)));
        assert_eq!(outcome, Ok(count + 1), "{conditions:?}");
    }
}
