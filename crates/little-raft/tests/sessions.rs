//! Commands that are tried again and applied once, several in one proposal, and waits that end in time.
#![allow(missing_docs)]

mod common;

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::durable::{Counter, Disk};
use common::{BOUND, Bound, Group, Journal, outcome, until};
use little_raft::{
    Entry, MemoryCluster, MemoryStorage, Once, ProposeError, ProposeOptions, Replica, Session,
    StateMachine, Storage, Timing,
};

fn under(once: Once) -> ProposeOptions {
    ProposeOptions::once(once)
}

fn session(replica: &Replica<Journal>) -> Session {
    outcome(replica.register_session()).expect("it is registered")
}

fn commands(replica: &Replica<Journal>) -> Vec<String> {
    outcome(replica.read(|journal| journal.commands.clone())).expect("it is read")
}

#[test]
fn p56_a_retry_anywhere_is_answered_as_the_first_attempt_was() {
    let mut group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    let mut session = session(group.at(follower));
    let (first, second) = (session.once(), session.once());
    for id in [follower, leader, follower] {
        let answered = outcome(group.at(id).propose_with("first", under(first)));
        assert_eq!(answered, Ok(1));
    }
    assert_eq!(
        outcome(group.at(leader).propose_with("second", under(second))),
        Ok(2)
    );
    group.kill(leader);
    let answered = outcome(group.at(follower).propose_with("first", under(first)));
    assert_eq!(answered, Ok(1), "by the next leader too");
    assert_eq!(commands(group.at(follower)), ["first", "second"]);
}

#[test]
fn p56_sessions_are_in_the_snapshot_that_a_straggler_gets() {
    let quick = |builder: little_raft::Builder<Journal>| builder.snapshot_entries(20);
    let mut group = Group::with(3, quick);
    let (leader, follower) = (group.leader(), group.follower());
    group.kill(follower);
    let mut session = session(group.at(leader));
    let once = session.once();
    let first = outcome(group.at(leader).propose_with("once", under(once)));
    assert_eq!(first, Ok(1));
    let log = group.storages[leader as usize - 1].reader();
    // The killed one might still come: for an election timeout the log is kept for it.
    until("the log is compacted", || {
        for _ in 0..100 {
            outcome(group.at(leader).propose("more")).expect("it is applied");
        }
        log.entries(1, 1, 1).is_err().then_some(())
    });
    group.start_with(follower, Journal::default(), quick);
    let restored = outcome(group.at(follower).read(|journal| journal.restored));
    assert_eq!(restored, Ok(1), "it came by a snapshot");
    // Who answers is the straggler, by what it was sent.
    let answered = outcome(group.at(follower).propose_with("once", under(once)));
    assert_eq!(answered, Ok(1));
    let all = commands(group.at(follower));
    assert_eq!(all.iter().filter(|command| *command == "once").count(), 1);
}

#[test]
fn p56_a_restart_from_snapshot_and_log_forgets_no_session() {
    let quick = |builder: little_raft::Builder<Journal>| builder.snapshot_entries(10);
    let mut group = Group::with(1, quick);
    group.leader();
    let mut session = session(group.at(1));
    let (early, late) = (session.once(), session.once());
    assert_eq!(
        outcome(group.at(1).propose_with("early", under(early))),
        Ok(1)
    );
    for count in 2..=40 {
        assert_eq!(outcome(group.at(1).propose("more")), Ok(count));
    }
    assert_eq!(
        outcome(group.at(1).propose_with("late", under(late))),
        Ok(41)
    );
    group.kill(1);
    group.start_with(1, Journal::default(), quick);
    let restored = outcome(group.at(1).read(|journal| journal.restored));
    assert_eq!(restored, Ok(1), "it began with a snapshot");
    for (command, once, count) in [("early", early, 1), ("late", late, 41)] {
        let answered = outcome(group.at(1).propose_with(command, under(once)));
        assert_eq!(answered, Ok(count));
    }
    assert_eq!(commands(group.at(1)).len(), 41);
}

/// Retries through the loss of one leader after another: each command counts once.
#[test]
fn p56_commands_are_applied_once_while_leaders_come_and_go() {
    let group = Group::new(3);
    group.leader();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [1, 2, 3].map(|id| {
            let (group, is_over) = (&group, &is_over);
            scope.spawn(move || client(group.at(id), id, is_over))
        });
        for _ in 0..4 {
            let leader = group.leader();
            let before = group.at(leader).status().applied;
            until("the clients go on under it", || {
                (group.at(leader).status().applied > before + 100).then_some(())
            });
            group.hub.isolate(leader);
            let deposed = || group.at(leader).status().leader.is_none();
            until("it steps down", || deposed().then_some(()));
            group.hub.heal();
        }
        is_over.store(true, Ordering::SeqCst);
        let mut proposed: Vec<String> = Vec::new();
        for client in clients {
            proposed.extend(client.join().expect("no panic"));
        }
        let mut applied = commands(group.at(1));
        proposed.sort();
        applied.sort();
        assert_eq!(applied, proposed);
    });
}

/// Proposes until it is over, every command until its outcome is known; gives the commands.
fn client(replica: &Replica<Journal>, id: u64, is_over: &AtomicBool) -> Vec<String> {
    let mut session = loop {
        if let Ok(session) = outcome(replica.register_session()) {
            break session;
        }
    };
    let mut proposed = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let (once, command) = (session.once(), format!("{id}: {}", proposed.len()));
        let begun = Instant::now();
        // No single attempt waits for a leader that is cut off.
        let options = ProposeOptions {
            within: Some(Duration::from_millis(50)),
            ..under(once)
        };
        while let Err(error) = outcome(replica.propose_with(command.clone(), options)) {
            let may_go_on = error.is_unknown() || error == ProposeError::NoLeader;
            assert!(
                may_go_on || error == ProposeError::NotApplied,
                "{command}: {error}"
            );
            assert!(begun.elapsed() < BOUND, "{command} has no end");
        }
        session.settle(once);
        proposed.push(command);
    }
    proposed
}

#[test]
fn attempts_that_cant_be_answered_are_refused_and_change_nothing() {
    let group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    let mut session = session(group.at(leader));
    let (first, open) = (session.once(), session.once());
    session.settle(first);
    let third = session.once();
    assert_eq!(
        outcome(group.at(leader).propose_with("third", under(third))),
        Ok(1)
    );
    let strange = Once {
        session: session.id() + 1_000,
        ..open
    };
    let strange_id = strange.session;
    let cases = [
        ("first", first, ProposeError::Settled { number: 1 }),
        (
            "open",
            strange,
            ProposeError::SessionExpired {
                session: strange_id,
            },
        ),
        ("other", third, ProposeError::NumberTaken { number: 3 }),
    ];
    for id in [leader, follower] {
        for (command, once, error) in cases {
            let refused = outcome(group.at(id).propose_with(command, under(once)));
            assert_eq!(refused, Err(error));
            let text = error.to_string();
            assert!(text.contains("not applied"), "{text}");
        }
    }
    assert_eq!(commands(group.at(follower)), ["third"]);
}

#[test]
fn commands_proposed_together_have_nothing_between_them() {
    let group = Group::new(3);
    group.leader();
    let options = ProposeOptions::default();
    thread::scope(|scope| {
        for id in 1..=3 {
            let replica = group.at(id);
            scope.spawn(move || {
                for i in 0..50 {
                    let commands = ["a", "b", "c"].map(|part| format!("{id}: {i}{part}"));
                    let responses = outcome(replica.propose_together(commands, options));
                    let responses = responses.expect("they are applied");
                    let first = responses[0];
                    assert_eq!(responses, [first, first + 1, first + 2]);
                }
            });
        }
    });
    let all = commands(group.at(1));
    assert_eq!(all.len(), 450);
    for three in all.chunks(3) {
        let whose = |command: &String| command[..command.len() - 1].to_owned();
        assert!(
            three
                .iter()
                .all(|command| whose(command) == whose(&three[0]))
        );
    }
    let nothing = outcome(group.at(1).propose_together::<&str>([], options));
    assert_eq!(nothing, Ok(Vec::new()));
}

#[test]
fn commands_proposed_together_are_applied_once_too() {
    let group = Group::new(3);
    let (leader, follower) = (group.leader(), group.follower());
    let mut session = session(group.at(leader));
    let once = session.once();
    for id in [leader, follower] {
        let pair = group.at(id).propose_together(["a", "b"], under(once));
        assert_eq!(outcome(pair), Ok(vec![1, 2]));
    }
    let refused = outcome(group.at(leader).propose_with("a", under(once)));
    assert_eq!(refused, Err(ProposeError::NumberTaken { number: 1 }));
}

#[test]
fn waits_end_within_their_time() {
    // It leads on for so long after it is cut off.
    let patient = Timing {
        heartbeat: Duration::from_millis(20),
        election: Duration::from_secs(1),
    };
    let group = Group::with(3, |builder| builder.timing(patient));
    let leader = group.leader();
    group.hub.isolate(leader);
    let within = |millis| ProposeOptions {
        within: Some(Duration::from_millis(millis)),
        ..ProposeOptions::default()
    };
    let begun = Instant::now();
    let appended = group.at(leader).propose_with("appended", within(40));
    assert_eq!(outcome(appended), Err(ProposeError::Unknown));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(40), "{took:?}");
    until("it steps down", || {
        group.at(leader).status().leader.is_none().then_some(())
    });
    let parked = group.at(leader).propose_with("parked", within(60));
    let patient = group.at(leader).propose_with("patient", within(20_000));
    assert_eq!(outcome(parked), Err(ProposeError::NoLeader));
    assert!(!patient.is_ready());
    group.hub.heal();
    outcome(patient).expect("there is a leader again");
    let all = commands(group.at(leader));
    assert!(!all.contains(&"parked".to_owned()), "{all:?}");
}

#[test]
fn p56_a_durable_machine_keeps_the_sessions_with_itself() {
    let _bound = Bound::new();
    let (hub, storage, disk) = (MemoryCluster::new(), MemoryStorage::new(), Disk::default());
    let start = || {
        Replica::<Counter>::builder(1)
            .members([(1, "")])
            .storage(storage.clone())
            .cluster(hub.link(1))
            .start(Counter::open(&disk))
            .expect("it starts")
    };
    let replica = start();
    let mut session = outcome(replica.register_session()).expect("it is registered");
    let once = session.once();
    assert_eq!(outcome(replica.propose_with("+1", under(once))), Ok(1));
    drop(replica);
    let replica = start();
    assert_eq!(outcome(replica.propose_with("+1", under(once))), Ok(1));
    assert_eq!(outcome(replica.propose("+1")), Ok(2));
}

/// Says nothing of its responses.
#[derive(Default)]
struct Mute;

impl StateMachine for Mute {
    type Response = ();
    type Snapshot = Vec<u8>;
    fn apply(&mut self, _: Entry<'_>) {}
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_machine_that_keeps_no_responses_has_no_sessions() {
    let _bound = Bound::new();
    let replica = Replica::<Mute>::builder(1)
        .members([(1, "")])
        .storage(MemoryStorage::new())
        .cluster(MemoryCluster::new().link(1))
        .start(Mute)
        .expect("it starts");
    let refused = outcome(replica.register_session());
    assert_eq!(refused, Err(ProposeError::NoSessions));
    let once = Once {
        session: 1,
        number: 1,
        settled: 1,
    };
    let refused = outcome(replica.propose_with("x", under(once)));
    assert_eq!(refused, Err(ProposeError::NoSessions));
    outcome(replica.propose("x")).expect("it goes on");
}
