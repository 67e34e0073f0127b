//! The dangers of running the core on whatever thread brings an input, each made to happen.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bound, Group, Journal, Threaded, outcome, timing, until};
use little_raft::core::message::Body;
use little_raft::{
    Cluster, Inbox, MemoryLink, MemoryStorage, Message, ProposeError, ReadError, Replica,
    ReplicaId, State, StopReason,
};

#[test]
fn a_slow_command_costs_no_election() {
    let mut group = Group::new(0);
    group.storages = (0..3).map(|_| MemoryStorage::new()).collect();
    group.replicas = vec![None, None, None];
    for id in 1..=3 {
        let machine = Journal {
            slow: Duration::from_secs(2),
            ..Journal::default()
        };
        group.start_with(id, machine, |builder| builder);
    }
    let leader = group.leader();
    let term = group.at(leader).status().term;
    let slow = group.at(leader).propose("slow");
    let committed = group.at(leader).status().committed;
    let behind = group.at(leader).propose("behind");
    until("it is committed though not applied", || {
        let status = group.at(leader).status();
        (status.committed > committed).then_some(())
    });
    assert_eq!(outcome(slow), Ok(1));
    assert_eq!(outcome(behind), Ok(2));
    for replica in group.running() {
        assert_eq!(replica.status().term, term, "an election took place");
    }
}

#[test]
fn a_panicking_command_stops_the_replica_and_ends_every_wait() {
    let group = Group::new(1);
    group.leader();
    let before = outcome(group.at(1).propose("fine"));
    assert_eq!(before, Ok(1));
    let pending = group.at(1).propose("panic");
    assert_eq!(outcome(pending), Err(ProposeError::Unknown));
    let reason = until("it stops", || group.at(1).stopped());
    assert_eq!(reason, StopReason::Panic("told to".into()));
    assert_eq!(
        outcome(group.at(1).propose("late")),
        Err(ProposeError::Stopped)
    );
    assert_eq!(outcome(group.at(1).read_barrier()), Err(ReadError::Stopped));
    assert_eq!(
        outcome(group.at(1).read_stale(|_| ())).map(|stale| stale.value),
        Err(ReadError::Stopped)
    );
}

#[test]
fn a_panicking_read_is_its_own_end_only() {
    let group = Group::new(1);
    let pending = group.at(1).read(|_| -> u8 { panic!("a read panics") });
    assert_eq!(outcome(pending), Err(ReadError::Panicked));
    assert_eq!(outcome(group.at(1).propose("on")), Ok(1));
}

#[test]
fn a_proposal_from_inside_a_read_is_queued_and_answered() {
    let group = Group::new(1);
    let replica = group.at(1).clone();
    let pending = outcome(group.at(1).read(move |_| replica.propose("inner"))).expect("it is read");
    assert_eq!(outcome(pending), Ok(1));
}

#[test]
fn a_replica_can_be_stopped_from_inside() {
    let group = Group::new(1);
    let replica = group.at(1).clone();
    assert_eq!(outcome(group.at(1).read(move |_| replica.stop())), Ok(()));
    let reason = until("it stops", || group.at(1).stopped());
    assert_eq!(reason, StopReason::Requested);
    group.at(1).stop();
}

#[test]
fn what_waits_beyond_the_bound_is_refused() {
    let group = Group::with(3, |builder| builder.parked_max(2, 1000));
    let leader = group.leader();
    group.hub.isolate(leader);
    until("it steps down", || {
        group.at(leader).status().leader.is_none().then_some(())
    });
    let first = group.at(leader).propose("1");
    let second = group.at(leader).propose("2");
    assert_eq!(
        outcome(group.at(leader).propose("3")),
        Err(ProposeError::Busy)
    );
    group.hub.heal();
    outcome(first).expect("it waited for a leader");
    outcome(second).expect("it waited for a leader");
}

#[test]
fn bytes_that_wait_beyond_the_bound_are_refused() {
    let group = Group::with(3, |builder| builder.parked_max(100, 1000));
    let leader = group.leader();
    group.hub.isolate(leader);
    until("it steps down", || {
        group.at(leader).status().leader.is_none().then_some(())
    });
    let large = group.at(leader).propose("x".repeat(700));
    let more = outcome(group.at(leader).propose("x".repeat(700)));
    assert_eq!(more, Err(ProposeError::Busy));
    let small = group.at(leader).propose("x".repeat(200));
    group.hub.heal();
    outcome(large).expect("it waited for a leader");
    outcome(small).expect("there was room for it");
}

#[test]
fn stale_reads_beyond_the_bound_are_refused() {
    let group = Group::new(0);
    let machine = Journal::default();
    let (stuck, is_stuck) = (machine.stuck.clone(), machine.is_stuck.clone());
    let replica = Replica::<Journal>::builder(1)
        .members([(1, "")])
        .timing(timing())
        .storage(Threaded(MemoryStorage::new()))
        .cluster(group.hub.link(1))
        .start(machine)
        .expect("it starts");
    stuck.store(true, Ordering::SeqCst);
    // On a thread of its own, which may be the one that applies it.
    let holds_up = thread::spawn({
        let replica = replica.clone();
        move || outcome(replica.propose("stuck"))
    });
    until("it is stuck", || {
        is_stuck.load(Ordering::SeqCst).then_some(())
    });
    let mut reads = Vec::new();
    let refused = loop {
        let read = replica.read_stale(|journal| journal.commands.len());
        if read.is_ready() {
            break outcome(read);
        }
        reads.push(read);
        assert!(reads.len() < 1_000_000, "there is no bound");
    };
    assert_eq!(refused, Err(ReadError::Busy));
    stuck.store(false, Ordering::SeqCst);
    assert_eq!(holds_up.join().expect("it ends"), Ok(1));
    for read in reads {
        assert_eq!(outcome(read).map(|stale| stale.value), Ok(1), "it waited");
    }
}

#[test]
fn a_command_that_fits_into_no_message_is_refused() {
    let group = Group::new(1);
    let bytes_max = group.at(1).command_bytes_max();
    let bytes = bytes_max + 1;
    let refused = outcome(group.at(1).propose(vec![0; bytes]));
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes, bytes_max }));
    assert_eq!(outcome(group.at(1).propose(vec![b'x'; bytes_max])), Ok(1));
}

#[test]
fn stopping_ends_what_waits_as_far_as_is_known() {
    let group = Group::new(3);
    let leader = group.leader();
    group.hub.isolate(leader);
    let in_the_log = group.at(leader).propose("in the log");
    until("it steps down", || {
        group.at(leader).status().leader.is_none().then_some(())
    });
    let parked = group.at(leader).propose("parked");
    let read = group.at(leader).read_barrier();
    group.at(leader).stop();
    assert_eq!(outcome(in_the_log), Err(ProposeError::Unknown));
    assert_eq!(outcome(parked), Err(ProposeError::Stopped));
    assert_eq!(outcome(read), Err(ReadError::Stopped));
    assert_eq!(group.at(leader).stopped(), Some(StopReason::Requested));
}

#[test]
fn p54_what_another_leader_replaced_is_told_as_not_applied() {
    let group = Group::new(3);
    let old = group.leader();
    group.hub.isolate(old);
    let lost = group.at(old).propose("lost");
    let other = until("another leader", || {
        let mut leaders = group.running().map(Replica::status);
        leaders
            .find(|status| status.state == State::Leader && status.id.0 != old)
            .map(|status| status.id.0)
    });
    assert_eq!(outcome(group.at(other).propose("kept")), Ok(1));
    group.hub.heal();
    assert_eq!(outcome(lost), Err(ProposeError::NotApplied));
    let commands = outcome(group.at(old).read(|journal| journal.commands.clone()));
    assert_eq!(commands.expect("it is read"), ["kept"]);
}

/// The new leader's log is shorter than what was lost, and nothing is proposed that would fill it.
#[test]
fn what_stood_behind_the_new_leaders_log_is_told_too() {
    let group = Group::new(3);
    let old = group.leader();
    group.hub.isolate(old);
    let lost: Vec<_> = (0..5)
        .map(|number| group.at(old).propose(format!("lost {number}")))
        .collect();
    until("another leader that has committed", || {
        let mut others = group.running().map(Replica::status);
        others.find(|status| {
            status.state == State::Leader && status.id.0 != old && status.committed == status.last
        })
    });
    group.hub.heal();
    for pending in lost {
        assert_eq!(outcome(pending), Err(ProposeError::NotApplied));
    }
}

#[test]
fn forwarded_proposals_end_once_each_with_their_own_response() {
    let group = Group::new(3);
    let leader = group.leader();
    let threads: Vec<_> = (1..=3)
        .flat_map(|id| [id, id])
        .map(|id| {
            let replica = group.at(id).clone();
            thread::spawn(move || -> Vec<usize> {
                let pendings: Vec<_> = (0..500)
                    .map(|i| replica.propose(format!("{id} {i}")))
                    .collect();
                let ended = pendings.into_iter().map(outcome);
                ended.map(|answer| answer.expect("it is applied")).collect()
            })
        })
        .collect();
    let mut answers: Vec<usize> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=3000).collect::<Vec<_>>());
    assert_eq!(group.leader(), leader);
}

#[test]
fn p60_a_full_disk_refuses_proposals_and_recovers() {
    let group = Group::new(1);
    assert_eq!(outcome(group.at(1).propose("1")), Ok(1));
    group.storages[0].set_full(true);
    outcome(group.at(1).propose("2")).expect("the reserve takes it");
    assert_eq!(
        outcome(group.at(1).propose("3")),
        Err(ProposeError::DiskFull)
    );
    assert_eq!(
        outcome(group.at(1).read(|journal| journal.commands.len())),
        Ok(2)
    );
    group.storages[0].set_full(false);
    until("there is room again", || {
        outcome(group.at(1).propose("4")).ok()
    });
}

#[test]
fn a_failed_log_stops_the_replica_with_its_reason() {
    let group = Group::new(1);
    assert_eq!(outcome(group.at(1).propose("1")), Ok(1));
    group.storages[0].fail();
    assert_eq!(
        outcome(group.at(1).propose("2")),
        Err(ProposeError::Unknown)
    );
    let reason = until("it stops", || group.at(1).stopped());
    assert!(matches!(reason, StopReason::Storage(_)), "{reason}");
    assert!(reason.is_failure());
}

#[test]
fn a_failed_append_of_the_logs_thread_ends_the_replica() {
    let group = Group::new(0);
    let storage = MemoryStorage::new();
    let replica = Replica::<Journal>::builder(1)
        .members([(1, "")])
        .timing(timing())
        .storage(Threaded(storage.clone()))
        .cluster(group.hub.link(1))
        .start(Journal::default())
        .expect("it starts");
    assert_eq!(outcome(replica.propose("1")), Ok(1));
    storage.fail();
    let lost = outcome(replica.propose("2"));
    assert_eq!(lost, Err(ProposeError::Unknown));
    let reason = until("it stops", || replica.stopped());
    assert!(matches!(reason, StopReason::Storage(_)), "{reason}");
}

#[test]
fn a_blocked_reader_of_the_answer_delays_nobody() {
    let group = Group::new(3);
    let leader = group.leader();
    drop(group.at(leader).propose("dropped"));
    let pending = group.at(leader).propose("late");
    let pending = match pending.wait_timeout(Duration::from_nanos(1)) {
        Ok(outcome) => return assert_eq!(outcome, Ok(2)),
        Err(pending) => pending,
    };
    assert_eq!(outcome(pending), Ok(2));
}

/// Calls back into the replica from inside `send`, which would never return if a lock were held there.
struct Reentrant {
    inbox: Option<Inbox>,
    replica: Arc<Mutex<Option<Replica<Journal>>>>,
    called: std::sync::mpsc::Sender<usize>,
}

impl Cluster for Reentrant {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        self.inbox = Some(inbox);
        Ok(())
    }

    fn send(&mut self, to: ReplicaId, message: Message) {
        let inbox = self.inbox.as_ref().expect("it was started");
        inbox.unreachable(to);
        inbox.deliver(message);
        let replica = self.replica.lock().expect("no panic").clone();
        if let Some(replica) = replica {
            drop(replica.propose("from inside"));
            drop(replica.read_barrier());
            let _ = self.called.send(replica.status().last as usize);
        }
    }

    fn max_message_bytes(&self) -> usize {
        1 << 20
    }
}

#[test]
fn no_lock_is_held_while_sending() {
    let _bound = Bound::new();
    let (called, calls) = channel();
    let shared = Arc::new(Mutex::new(None));
    let cluster = Reentrant {
        inbox: None,
        replica: shared.clone(),
        called,
    };
    let replica = Replica::<Journal>::builder(1)
        .members([(1, ""), (2, ""), (3, "")])
        .timing(timing())
        .storage(MemoryStorage::new())
        .cluster(cluster)
        .start(Journal::default())
        .expect("it starts");
    *shared.lock().expect("no panic") = Some(replica.clone());
    // It campaigns for ever: nobody answers.
    for _ in 0..10 {
        calls
            .recv_timeout(common::BOUND)
            .expect("a send came back from inside");
    }
    *shared.lock().expect("no panic") = None;
    replica.stop();
}

/// Notes what it is given to send, and panics instead once it is told to.
struct Panicking {
    inbox: Arc<Mutex<Option<Inbox>>>,
    armed: Arc<AtomicBool>,
    sent: Sender<Message>,
}

impl Cluster for Panicking {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        *self.inbox.lock().expect("no panic") = Some(inbox);
        Ok(())
    }

    fn send(&mut self, _: ReplicaId, message: Message) {
        assert!(!self.armed.load(Ordering::SeqCst), "told to");
        let _ = self.sent.send(message);
    }

    fn max_message_bytes(&self) -> usize {
        1 << 20
    }
}

#[test]
fn a_panic_while_sending_stops_the_replica_and_reaches_no_caller() {
    let _bound = Bound::new();
    let (sent, messages) = channel();
    let (inbox, armed) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
    let cluster = Panicking {
        inbox: inbox.clone(),
        armed: armed.clone(),
        sent,
    };
    let replica = Replica::<Journal>::builder(1)
        .members([(1, ""), (2, ""), (3, "")])
        .timing(timing())
        .storage(MemoryStorage::new())
        .cluster(cluster)
        .start(Journal::default())
        .expect("it starts");
    let parked = replica.propose("waits for a leader");
    // It asks 2 whether it would vote for it. We ask it the same, as if we were 2: it owes us an answer.
    let mut asked = messages.recv_timeout(common::BOUND).expect("it campaigns");
    (asked.from, asked.to) = (ReplicaId(2), ReplicaId(1));
    (asked.from_incarnation, asked.to_incarnation) = (2, None);
    armed.store(true, Ordering::SeqCst);
    let inbox = inbox
        .lock()
        .expect("no panic")
        .take()
        .expect("it was started");
    inbox.deliver(asked);
    let reason = until("it stops", || replica.stopped());
    assert_eq!(reason, StopReason::Panic("told to".into()));
    assert_eq!(outcome(parked), Err(ProposeError::Stopped));
    let late = outcome(replica.propose("late"));
    assert_eq!(late, Err(ProposeError::Stopped));
    // Nor does it reach the timer, which all replicas of the process share.
    let group = Group::new(1);
    assert_eq!(outcome(group.at(1).propose("on")), Ok(1));
}

/// Notes the number of every append that leaves, by whom it is for.
struct Recording {
    link: MemoryLink,
    numbers: Arc<Mutex<BTreeMap<ReplicaId, Vec<u64>>>>,
}

impl Cluster for Recording {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        self.link.start(inbox)
    }

    fn send(&mut self, to: ReplicaId, message: Message) {
        if let Body::Append(append) = &message.body {
            let mut numbers = self.numbers.lock().expect("no panic");
            numbers.entry(to).or_default().push(append.stamp.number);
        }
        self.link.send(to, message);
    }

    fn max_message_bytes(&self) -> usize {
        self.link.max_message_bytes()
    }
}

#[test]
fn messages_leave_in_the_cores_order_whoever_runs_it() {
    let mut group = Group::new(0);
    group.storages = (0..3).map(|_| MemoryStorage::new()).collect();
    group.replicas = vec![None, None, None];
    let all = [(); 3].map(|()| Arc::new(Mutex::new(BTreeMap::new())));
    for (id, numbers) in (1..=3).zip(&all) {
        let hub = group.hub.clone();
        group.start_with(id, Journal::default(), |builder| {
            builder.cluster(Recording {
                link: hub.link(id),
                numbers: numbers.clone(),
            })
        });
    }
    let leader = group.leader();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let replica = group.at(leader);
                    let (proposed, read) = (replica.propose("x"), replica.read_barrier());
                    outcome(proposed).expect("it is applied");
                    outcome(read).expect("it is read");
                }
            });
        }
    });
    let numbers = all[leader as usize - 1].lock().expect("no panic").clone();
    assert_eq!(numbers.len(), 2);
    for (peer, numbers) in numbers {
        assert!(numbers.len() > 200, "{peer}: only {}", numbers.len());
        let disorder = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(disorder, None, "to {peer}");
    }
}

#[test]
fn a_stuck_machine_blocks_neither_status_nor_other_replicas() {
    let mut group = Group::new(0);
    group.storages = (0..3).map(|_| MemoryStorage::new()).collect();
    group.replicas = vec![None, None, None];
    let machines = [(); 3].map(|()| Journal::default());
    let switches = [0, 1, 2].map(|i: usize| machines[i].stuck.clone());
    let signs = [0, 1, 2].map(|i: usize| machines[i].is_stuck.clone());
    let disks = group.storages.clone();
    for (id, machine) in (1..=3).zip(machines) {
        let disk = disks[id as usize - 1].clone();
        group.start_with(id, machine, |builder| {
            builder.storage(Threaded(disk.clone()))
        });
    }
    let (leader, follower) = (group.leader(), group.follower());
    let stuck = &switches[follower as usize - 1];
    // The leader's own entries, which cost the machine nothing, come first.
    until("the data directories are bound", || {
        let status = group.at(follower).status();
        let bound = status.members.iter().all(|it| it.incarnation.is_some());
        (bound && status.applied == group.at(leader).status().last).then_some(())
    });
    stuck.store(true, Ordering::SeqCst);
    // On a thread of its own: in memory a caller's thread applies for all replicas, until one of them turns out slow.
    let held_up = thread::spawn({
        let leader = group.at(leader).clone();
        move || outcome(leader.propose("stuck"))
    });
    until("it is stuck", || {
        let is_stuck = &signs[follower as usize - 1];
        is_stuck.load(Ordering::SeqCst).then_some(())
    });
    let begun = Instant::now();
    let term = group.at(leader).status().term;
    while begun.elapsed() < Duration::from_millis(600) {
        outcome(group.at(leader).propose("on")).expect("a majority applies");
    }
    let status = group.at(follower).status();
    assert_eq!(
        (status.term, status.leader),
        (term, Some(ReplicaId(leader)))
    );
    let last = group.at(leader).status().committed;
    assert!(status.applied < last, "it is stuck");
    stuck.store(false, Ordering::SeqCst);
    assert_eq!(held_up.join().expect("it ends"), Ok(1));
    until("it catches up", || {
        (group.at(follower).status().applied >= last).then_some(())
    });
}
