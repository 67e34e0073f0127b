//! What only the inside can show: whose thread runs what, and in which order.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use std::{io, thread};

use little_raft_core::message::{Append, Body, Stamp};
use little_raft_core::{
    Config, Identity, Input, Member, Membership, Message, Now, Position, ReplicaId, Restored,
    State, Timing,
};

use super::*;
use crate::driver::{ApplierConfig, Engine, EngineConfig, Proposal};
use crate::memory::MemoryStorage;
use crate::pending::Answer;
use crate::storage::Storage;

struct Nothing;

impl StateMachine for Nothing {
    type Response = ();
    type Snapshot = Vec<u8>;
    fn apply(&mut self, _: crate::Entry<'_>) {}
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
        Ok(())
    }
}

fn engine(election: Duration) -> Engine<Nothing> {
    let founders: Vec<Member> = (1..=3).map(|id| Member::voter(id, "")).collect();
    let identity = Identity {
        cluster: 1,
        replica: ReplicaId(1),
        incarnation: 1,
        boot: 1,
        founders: founders.clone(),
    };
    let mut config = Config::new(&identity, 0);
    config.timing = Timing {
        heartbeat: election / 2,
        election,
    };
    let mut restored = Restored::default();
    restored.base.membership = Membership::founders(founders);
    let limits = EngineConfig {
        parked_count_max: 0,
        ..EngineConfig::default()
    };
    let now = Now {
        monotonic: timer::monotonic(),
        wall: 0,
    };
    Engine::new(config, limits, restored, 0, [], now).expect("it is sound")
}

fn shell(election: Duration) -> Arc<Shell<Nothing>> {
    let storage = MemoryStorage::new();
    let engine = engine(election);
    let board = Board::new(ReplicaId(1), engine.progress(), 0, engine.membership());
    let limits = ApplierConfig {
        snapshot_entries: u64::MAX,
        snapshot_bytes: usize::MAX,
    };
    let (reader, snapshots) = (storage.reader(), storage.snapshots());
    let applier = Applier::new(
        Nothing,
        Position::default(),
        engine.membership().clone(),
        limits,
        reader.clone(),
        snapshots.clone(),
    );
    let own = Immediate::new(
        LogWriter::new(Box::new(storage)),
        Store::new(reader, snapshots.clone()),
    );
    Shell::new(Parts {
        core: Core::new(engine, Some(own)),
        applier,
        snapshots,
        piece_bytes: 1,
        board,
    })
}

/// Tells on which thread it was woken.
struct Where(Mutex<Sender<Option<String>>>);

impl Wake for Where {
    fn wake(self: Arc<Self>) {
        let name = thread::current().name().map(str::to_owned);
        let _ = self.0.lock().expect("no panic").send(name);
    }
}

#[test]
fn a_caller_serves_a_slice_and_a_helper_goes_on() {
    let shell = shell(Duration::from_secs(60));
    let other = || Event::Core(Input::Unreachable(ReplicaId(2)));
    let (answer, pending) = Answer::new();
    for _ in 0..3 * CALLER_BUDGET {
        assert!(matches!(shell.core.leave(other()), Pushed::Queued));
    }
    let last = Event::Propose(Proposal::new(bytes::Bytes::new(), answer));
    assert!(matches!(shell.core.leave(last), Pushed::Queued));
    let (sender, woken) = channel();
    let waker = Waker::from(Arc::new(Where(Mutex::new(sender))));
    let mut pending = pin!(pending);
    let polled = pending.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    shell.input(other());
    let name = woken.recv_timeout(Duration::from_secs(20));
    assert_eq!(name.expect("it ends").as_deref(), Some("raft-helper"));
    shell.stop();
}

#[test]
fn a_full_queue_refuses_callers_but_not_our_own_completions() {
    let shell = shell(Duration::from_secs(60));
    let core = shell.core.grab().expect("it is free");
    for _ in 0..QUEUE_COUNT_MAX {
        shell.input(Event::Core(Input::Unreachable(ReplicaId(2))));
    }
    let (answer, pending) = Answer::new();
    shell.input(Event::Propose(Proposal::new(bytes::Bytes::new(), answer)));
    assert_eq!(pending.wait(), Err(ProposeError::Busy));
    let own = shell.core.push_own(Event::Wake);
    assert!(matches!(own, Pushed::Queued));
    shell.core.put_down(core);
    shell.stop();
}

/// A process that was paused beyond its election timeout finds a heartbeat in its queue: it has a leader.
#[test]
fn due_deadlines_come_after_the_queued_input() {
    let mut core = Core::new(engine(Duration::from_millis(20)), None);
    thread::sleep(Duration::from_millis(50));
    core.batch.push_back(Event::Wake);
    core.batch
        .push_back(Event::Core(Input::Message(heartbeat())));
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::Follower);
    assert_eq!(core.engine.raft().leader(), Some(ReplicaId(2)));

    let mut core = Core::new(engine(Duration::from_millis(20)), None);
    thread::sleep(Duration::from_millis(50));
    core.more_waits = true;
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::Follower, "more waits");
    core.more_waits = false;
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::PreCandidate);
}

/// What comes late must not be taken for early.
#[test]
fn the_clock_is_read_when_inputs_are_taken() {
    let election = Duration::from_secs(60);
    let mut core = Core::new(engine(election), None);
    thread::sleep(Duration::from_millis(20));
    let before = timer::monotonic();
    core.batch
        .push_back(Event::Core(Input::Message(heartbeat())));
    core.step_all();
    let least = before + election.as_nanos() as u64;
    let deadline = core.engine.deadline();
    assert!(
        deadline >= least,
        "the heartbeat came {} ns ago",
        least - deadline
    );
}

fn heartbeat() -> Message {
    Message {
        cluster: 1,
        group: 0,
        from: ReplicaId(2),
        to: ReplicaId(1),
        from_incarnation: 2,
        to_incarnation: None,
        boot: 1,
        term: 1,
        body: Body::Append(Append {
            stamp: Stamp::default(),
            prev: Position::default(),
            committed: 0,
            entries: Vec::new(),
        }),
    }
}
