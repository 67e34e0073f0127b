//! What only the inside can show: whose thread runs what, and in which order.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use std::{io, thread};

use little_raft_core::message::{Append, AppendOutcome, AppendReply, Body, Stamp, Vote, VoteReply};
use little_raft_core::{
    Apply, Base, Config, Entry, EntryKind, Identity, Input, Member, Membership, Message, Now,
    Position, ReplicaId, Restored, State, Timing,
};

use super::*;
use crate::driver::{
    ApplierConfig, Batch, Effects, Engine, EngineConfig, Proposal, Replicated, Sessions,
};
use crate::memory::MemoryStorage;
use crate::pending::Answer;
use crate::status::Shown;
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

fn replicated(membership: Membership) -> Replicated<Nothing> {
    let at = Base {
        membership,
        ..Base::default()
    };
    Replicated::new(Nothing, at, Sessions::default())
}

/// At most one read may be open.
fn engine(election: Duration) -> Engine<Nothing> {
    engine_of(election, 0)
}

/// With so many entries in its log, all of them applied.
fn engine_of(election: Duration, applied: u64) -> Engine<Nothing> {
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
    if applied > 0 {
        let entries = (1..=applied).map(|index| entry(Position::new(index, 1)));
        restored.tail = entries.collect();
        restored.terms = vec![Position::new(1, 1)];
        restored.last = applied;
        (restored.hard_state.term, restored.hard_state.committed) = (1, applied);
    }
    let limits = EngineConfig {
        parked_count_max: 0,
        reads_count_max: 1,
        ..EngineConfig::default()
    };
    let now = Now {
        monotonic: timer::monotonic(),
        wall: 0,
    };
    Engine::new(config, limits, restored, applied, [], now).expect("it is sound")
}

fn entry(position: Position) -> Entry {
    Entry {
        position,
        kind: EntryKind::Command,
        time: 0,
        checksum: crc32c::crc32c(b"what was proposed"),
        payload: bytes::Bytes::from_static(b"what was proposed"),
    }
}

fn shell(election: Duration) -> Arc<Shell<Nothing>> {
    let storage = MemoryStorage::new();
    let engine = engine(election);
    let limits = ApplierConfig {
        snapshot_entries: u64::MAX,
        snapshot_bytes: usize::MAX,
    };
    let (reader, snapshots) = (storage.reader(), storage.snapshots());
    let applier = Applier::new(
        replicated(engine.membership().clone()),
        limits,
        reader.clone(),
        snapshots.clone(),
        None,
    );
    let progress = engine.progress();
    let shown = Shown {
        applied: applier.shown(),
        alike: applier.alike(),
    };
    let board = Board::new(ReplicaId(1), progress, shown, engine.membership());
    let own = Immediate::new(
        LogWriter::new(Box::new(storage)),
        Store::new(reader, snapshots.clone()),
    );
    Shell::new(Parts {
        core: Core::new(engine, Some(own)),
        applier,
        snapshots,
        piece_bytes: 1,
        snapshot_rate: None,
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
    let other = || Event::core(Input::Unreachable(ReplicaId(2)));
    let (answer, pending) = Answer::new();
    for _ in 0..3 * CALLER_BUDGET {
        assert!(matches!(shell.core.leave(other()), Pushed::Queued));
    }
    let last = Event::Propose(Proposal::command(bytes::Bytes::new(), answer));
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
        shell.input(Event::core(Input::Unreachable(ReplicaId(2))));
    }
    let (answer, pending) = Answer::new();
    shell.input(Event::Propose(Proposal::command(
        bytes::Bytes::new(),
        answer,
    )));
    let ended = pending.wait_timeout(Duration::from_secs(20));
    assert_eq!(ended.expect("it has ended"), Err(ProposeError::Busy));
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
        .push_back(Event::core(Input::Message(heartbeat())));
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::Follower);
    assert_eq!(core.engine.raft().leader(), Some(ReplicaId(2)));
    let now = Now {
        monotonic: timer::monotonic(),
        wall: 0,
    };
    let asked = |message: &Message| matches!(message.body, Body::Vote(_));
    assert!(!core.engine.effects(now).messages.iter().any(asked));

    let mut core = Core::new(engine(Duration::from_millis(20)), None);
    thread::sleep(Duration::from_millis(50));
    core.more_waits = true;
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::Follower, "more waits");
    core.more_waits = false;
    core.step_all();
    assert_eq!(core.engine.raft().state(), State::PreCandidate);
}

/// What comes late must not be taken for early. A read waits for a leader from when it
/// was looked at.
#[test]
fn the_clock_is_read_when_inputs_are_taken() {
    let mut core = Core::new(engine(Duration::from_secs(60)), None);
    thread::sleep(Duration::from_millis(20));
    let before = timer::monotonic();
    let (sender, _failed) = channel();
    core.batch.push_back(Event::Read(Box::new(Fails(sender))));
    core.step_all();
    let waits = EngineConfig::default().proposal_timeout;
    assert!(core.engine.deadline() >= before + waits.as_nanos() as u64);
}

/// Others' input must not keep a replica from its own deadlines for good.
#[test]
fn due_deadlines_do_not_wait_for_ever() {
    let mut core = Core::new(engine(Duration::from_millis(20)), None);
    thread::sleep(Duration::from_millis(50));
    let waited = (0..1_000).find(|_| {
        core.more_waits = true;
        core.step_all();
        core.engine.raft().state() == State::PreCandidate
    });
    assert!(waited.is_some(), "more waits, and it never campaigns");
}

/// Rule 9: the leader may have appended it. Only its proposer may try it again.
#[test]
fn a_forward_without_an_answer_is_unknown_and_not_sent_again() {
    let forwards = |effects: &mut Effects<Nothing>| {
        let mut messages = effects.messages.drain(..);
        messages.any(|message| matches!(message.body, Body::Forward(_)))
    };
    let mut engine = engine(Duration::from_secs(60));
    let now = Now {
        monotonic: timer::monotonic(),
        wall: 0,
    };
    engine.step(now, Event::core(Input::Message(heartbeat())));
    let (answer, pending) = Answer::new();
    let proposal = Proposal::command(bytes::Bytes::new(), answer);
    engine.step(now, Event::Propose(proposal));
    assert!(forwards(engine.effects(now)));
    let other = Message {
        from: ReplicaId(3),
        from_incarnation: 3,
        term: 2,
        ..heartbeat()
    };
    engine.step(now, Event::core(Input::Message(other)));
    let effects = engine.effects(now);
    assert!(!forwards(effects), "it may be applied twice");
    for (answer, outcome) in effects.endings.drain(..) {
        answer.send(outcome);
    }
    let ended = pending.wait_timeout(Duration::from_secs(20));
    assert_eq!(ended.expect("it has ended"), Err(ProposeError::Unknown));
}

/// A read that only tells how it failed.
struct Fails(Sender<ReadError>);

impl ReadTask<Nothing> for Fails {
    fn run(self: Box<Self>, _: &Nothing, _: u64) {}
    fn fail(self: Box<Self>, error: ReadError) {
        let _ = self.0.send(error);
    }
}

#[test]
fn reads_beyond_the_bound_are_refused() {
    let shell = shell(Duration::from_secs(60));
    let (sender, failed) = channel();
    for _ in 0..2 {
        shell.input(Event::Read(Box::new(Fails(sender.clone()))));
    }
    assert_eq!(failed.try_iter().collect::<Vec<_>>(), [ReadError::Busy]);
    shell.stop();
    assert_eq!(failed.try_iter().collect::<Vec<_>>(), [ReadError::Stopped]);
}

/// Rule 10: if the newer turns out damaged, the older and the log serve.
#[test]
fn the_log_is_kept_from_the_older_of_two_snapshots_on() {
    let mut engine = engine_of(Duration::from_secs(60), 20);
    let now = Now {
        monotonic: timer::monotonic(),
        wall: 0,
    };
    let mut saved = |index| {
        let base = Base {
            position: Position::new(index, 1),
            membership: engine.membership().clone(),
        };
        engine.step(now, Event::Saved(Some(base)));
        let base = engine.effects(now).write.take()?.base?;
        Some(base.position.index)
    };
    assert_eq!(saved(8), None, "one alone is not enough");
    assert_eq!(saved(12), Some(8));
    assert_eq!(saved(20), Some(12));
}

/// Whoever catches up by the log would need a snapshot, if the log went on without it.
#[test]
fn the_log_is_kept_for_a_follower_that_catches_up() {
    let mut engine = engine_of(Duration::from_secs(60), 20);
    let now = Now {
        monotonic: engine.deadline(),
        wall: 0,
    };
    lead(&mut engine, now);
    // 3 is silent for so long that nothing is kept for it.
    let now = Now {
        monotonic: now.monotonic + Duration::from_secs(61).as_nanos() as u64,
        wall: 0,
    };
    let reached = |engine: &mut Engine<Nothing>, index| {
        let stamp = Stamp {
            sent: now.monotonic,
            ..Stamp::default()
        };
        let (promise, outcome) = (0, AppendOutcome::Matched(index));
        let reply = Body::AppendReply(AppendReply {
            stamp,
            promise,
            outcome,
        });
        engine.step(now, Event::core(Input::Message(from_2(engine, reply))));
    };
    let saved = |engine: &mut Engine<Nothing>, index| {
        let base = Base {
            position: Position::new(index, 1),
            membership: engine.membership().clone(),
        };
        engine.step(now, Event::Saved(Some(base)));
        let effects = engine.effects(now);
        effects.messages.clear();
        let base = effects.write.take()?.base?;
        Some(base.position.index)
    };
    reached(&mut engine, 5);
    saved(&mut engine, 8);
    assert_eq!(saved(&mut engine, 12), None, "2 needs what follows 5");
    reached(&mut engine, 20);
    assert_eq!(saved(&mut engine, 16), Some(12));
}

/// By the votes of 2.
fn lead(engine: &mut Engine<Nothing>, now: Now) {
    engine.step(now, Event::Wake);
    while engine.raft().state() != State::Leader {
        let effects = engine.effects(now);
        let asked: Vec<Message> = effects.messages.drain(..).collect();
        let write = effects.write.take().map(|write| write.number);
        for vote in asked
            .into_iter()
            .filter(|message| message.to == ReplicaId(2))
        {
            if let Body::Vote(Vote { number, ballot, .. }) = vote.body {
                let (granted, promise) = (true, 0);
                let reply = Body::VoteReply(VoteReply {
                    number,
                    ballot,
                    granted,
                    promise,
                });
                engine.step(now, Event::core(Input::Message(from_2(engine, reply))));
            }
        }
        if let Some(write) = write {
            engine.step(now, Event::core(Input::Flushed { write }));
        }
    }
    engine.effects(now).messages.clear();
}

fn from_2(engine: &Engine<Nothing>, body: Body) -> Message {
    Message {
        term: engine.raft().term(),
        body,
        ..heartbeat()
    }
}

/// It was proposed with one checksum, and is another command by now: that it is applied nowhere is all that helps.
#[test]
fn a_command_that_rotted_in_the_log_is_not_applied() {
    let storage = MemoryStorage::new();
    let limits = ApplierConfig {
        snapshot_entries: u64::MAX,
        snapshot_bytes: usize::MAX,
    };
    let membership = engine(Duration::from_secs(60)).membership().clone();
    let mut applier = Applier::new(
        replicated(membership),
        limits,
        storage.reader(),
        storage.snapshots(),
        None,
    );
    let rotten = Entry {
        payload: bytes::Bytes::from_static(b"what was propose!"),
        ..entry(Position::new(1, 1))
    };
    let work = ApplyWork::Batch(Batch {
        apply: Apply::Entries([rotten].into()),
        waiters: VecDeque::new(),
        keep: None,
    });
    let ended = applier.run(work).map(|_| ()).expect_err("it is refused");
    assert!(matches!(ended, StopReason::Storage(_)), "{ended}");
    let text = ended.to_string();
    assert!(text.contains("at 1@1 is not what was proposed"), "{text}");
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
            settled: 0,
            entries: [].into(),
        }),
    }
}
