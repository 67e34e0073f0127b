//! What scripts can't say in a few lines: counts, orders, and states compared.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use little_raft_core::message::{AppendOutcome, AppendReply, Body, VoteReply};
use little_raft_core::{
    Apply, Base, Config, Entry, EntryKind, HardState, Identity, Input, Member, Membership, Message,
    Now, Outputs, Position, Proposal, Raft, ReplicaId, Restored, State, Timing,
};

fn config(id: u64) -> Config {
    let founders = (1..=3).map(|id| Member::voter(id, "")).collect();
    let identity = Identity {
        cluster: 9,
        replica: ReplicaId(id),
        incarnation: 100 + id,
        boot: 1,
        founders,
    };
    Config::new(&identity, 0)
}

/// One replica of three, whose entries have these terms.
fn replica(id: u64, terms: &[u64], now: Now) -> Raft {
    let mut runs: Vec<Position> = Vec::new();
    let mut tail = Vec::new();
    for (&term, index) in terms.iter().zip(1..) {
        let position = Position::new(index, term);
        if runs.last().is_none_or(|run| run.term < term) {
            runs.push(position);
        }
        tail.push(Entry {
            position,
            kind: EntryKind::Command,
            time: 0,
            checksum: 0,
            payload: Bytes::new(),
        });
    }
    let members = (1..=3).map(|id| Member::voter(id, ""));
    let restored = Restored {
        hard_state: HardState {
            term: terms.last().copied().unwrap_or(0),
            ..HardState::default()
        },
        base: Base {
            position: Position::default(),
            membership: Membership::founders(members),
        },
        terms: runs,
        last: terms.len() as u64,
        memberships: Vec::new(),
        tail,
    };
    Raft::new(config(id), restored, now).expect("a timing that works")
}

fn at(monotonic: u64) -> Now {
    Now { monotonic, wall: 5 }
}

/// Flushes and applies at once, until nothing more is asked for; answers the messages.
fn drain(raft: &mut Raft, now: Now) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let Outputs {
            messages: sent,
            write,
            apply,
            ..
        } = raft.outputs(now);
        let is_more = write.is_some() || apply != Apply::Nothing;
        messages.extend(sent);
        if let Some(write) = write {
            let write = write.number;
            raft.step(now, Input::Flushed { write });
        }
        if let Apply::Entries(entries) = apply {
            let index = entries.last().expect("never none").position.index;
            raft.step(now, Input::Applied { index });
        }
        raft.check_invariants();
        if !is_more {
            return messages;
        }
    }
}

/// Lets it campaign, with the third replica's votes; answers what it sends as a leader.
fn elect(raft: &mut Raft, now: Now) -> Vec<Message> {
    raft.step(now, Input::Wake);
    let mut messages = drain(raft, now);
    while raft.state() != State::Leader {
        let asked = messages.iter().find_map(|message| match &message.body {
            Body::Vote(vote) if message.to == ReplicaId(3) => Some((message, vote)),
            _ => None,
        });
        let (message, vote) = asked.expect("a vote asked for");
        let reply = Message {
            from: message.to,
            to: message.from,
            from_incarnation: 103,
            to_incarnation: None,
            body: Body::VoteReply(VoteReply {
                number: vote.number,
                ballot: vote.ballot,
                granted: true,
                promise: 0,
            }),
            ..message.clone()
        };
        raft.step(now, Input::Message(reply));
        messages = drain(raft, now);
    }
    messages
}

/// Lets a leader talk to the second replica until that has its log; answers the number of round trips.
fn rounds_to_converge(leader: &[u64], follower: &[u64]) -> usize {
    let mut first = replica(1, leader, at(0));
    let now = at(first.deadline());
    let mut second = replica(2, follower, now);
    let mut messages = elect(&mut first, now);
    let mut rounds = 0;
    while second.last() != first.last() {
        assert!(rounds < 50_000, "they never agree");
        rounds += 1;
        for message in messages.drain(..) {
            if message.to == ReplicaId(2) {
                second.step(now, Input::Message(message));
            }
        }
        for message in drain(&mut second, now) {
            first.step(now, Input::Message(message));
        }
        messages = drain(&mut first, now);
    }
    let terms = |raft: &Raft| -> Vec<_> {
        (0..=raft.last().index)
            .map(|index| raft.term_at(index))
            .collect()
    };
    assert_eq!(terms(&first), terms(&second));
    rounds
}

/// So many runs of so many entries, with every second term from `first` on.
fn runs(first: u64, runs: u64, length: u64) -> Vec<u64> {
    (0..runs * length)
        .map(|place| first + 2 * (place / length))
        .collect()
}

#[test]
fn p18_ten_thousand_diverged_entries_converge_in_a_round_a_term() {
    for count in [1, 7, 50, 200] {
        let length = 10_000 / count;
        // Both have all 10,000, of different terms: the leader's are the even ones.
        let (leader, follower) = (runs(2, count, length), runs(1, count, length));
        let rounds = rounds_to_converge(&leader, &follower);
        assert!(
            rounds as u64 <= count + 2,
            "{count} terms took {rounds} rounds"
        );
    }
}

#[test]
fn p18_a_follower_that_lacks_all_or_has_too_much_is_found_by_one_probe() {
    let long: Vec<u64> = (0..10_000).map(|place| 1 + place / 100).collect();
    // A probe, the first message, and the rest of them together.
    assert_eq!(rounds_to_converge(&long, &[]), 3);
    // A probe, and what replaces the tail.
    let (leader, follower) = ([vec![1; 5000], vec![3]], [vec![1; 5000], vec![2; 5000]]);
    let rounds = rounds_to_converge(&leader.concat(), &follower.concat());
    assert_eq!(rounds, 2);
}

#[test]
fn timing_that_cannot_work_is_refused() {
    let timing = |heartbeat, election| Timing {
        heartbeat: Duration::from_millis(heartbeat),
        election: Duration::from_millis(election),
    };
    let rows = [
        ("the default", Timing::default(), true),
        ("twice as long", timing(50, 100), true),
        ("an hour", timing(50, 3_600_000), true),
        ("no heartbeat", timing(0, 100), false),
        ("too close", timing(51, 100), false),
        ("more than an hour", timing(50, 3_600_001), false),
        (
            "doubled out of range",
            Timing {
                heartbeat: Duration::MAX,
                election: Duration::MAX,
            },
            false,
        ),
    ];
    for (row, timing, works) in rows {
        assert_eq!(timing.check().is_ok(), works, "{row}");
        let mut refusing = config(1);
        refusing.timing = timing;
        let made = Raft::new(refusing, Restored::default(), at(0));
        assert_eq!(made.is_ok(), works, "{row}");

        let mut running = replica(1, &[1], at(0));
        running.step(at(0), Input::SetTiming(timing));
        let kept = if works { timing } else { Timing::default() };
        assert_eq!(running.config().timing, kept, "{row}");
    }
    let error = timing(80, 100).check().unwrap_err().to_string();
    assert!(error.contains("80ms") && error.contains("100ms"), "{error}");
}

#[test]
fn p03_positions_order_by_term_then_index() {
    let rising = [(0, 0), (1, 1), (9, 1), (3, 2), (4, 2), (1, 3)];
    let rising = rising.map(|(index, term)| Position::new(index, term));
    assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
    assert_eq!(format!("{:?}", rising[3]), "3@2");
}

/// A leader in the middle of things, `shift` nanoseconds later than another.
fn busy_leader(shift: u64) -> Raft {
    let mut raft = replica(1, &[1, 1], at(shift));
    // The generator draws the same wait whatever the time is.
    let now = at(raft.deadline());
    elect(&mut raft, now);
    // Its first heartbeat is due at once.
    raft.step(now, Input::Wake);
    let payload = Bytes::from_static(b"x");
    let (ticket, proposal) = (1, Proposal::command(7, payload));
    raft.step(now, Input::Propose { ticket, proposal });
    raft.step(now, Input::Transfer { to: None });
    raft.step(now, Input::Read { ticket: 2 });
    raft.outputs(now);
    raft
}

#[test]
fn fingerprints_are_equal_for_states_that_differ_only_in_when_they_are() {
    let fresh = |shift| replica(1, &[1, 1], at(shift)).fingerprint();
    assert_eq!(fresh(1000), fresh(5_000_000));
    assert_eq!(
        busy_leader(1000).fingerprint(),
        busy_leader(5_000_000).fingerprint()
    );
}

#[test]
fn fingerprints_differ_for_states_that_behave_differently() {
    let later = |by: u64, input: Input| {
        let mut raft = replica(1, &[1, 1], at(1000));
        raft.step(at(1000 + by), input);
        raft.outputs(at(1000 + by));
        raft.fingerprint()
    };
    let leader = busy_leader(1000);
    let mut flushed = leader.clone();
    flushed.step(at(0), Input::Flushed { write: 3 });
    flushed.outputs(at(0));
    let states = [
        ("untouched", later(0, Input::Wake)),
        ("nearer to its election", later(1_000_000, Input::Wake)),
        ("asking around", later(900_000_000, Input::Wake)),
        ("with a full disk", later(0, Input::Accepting(false))),
        ("with a read", later(0, Input::Read { ticket: 1 })),
        (
            "with a longer log",
            replica(1, &[1, 1, 1], at(1000)).fingerprint(),
        ),
        (
            "with another term",
            replica(1, &[1, 2], at(1000)).fingerprint(),
        ),
        ("leading", leader.fingerprint()),
        ("leading and flushed", flushed.fingerprint()),
    ];
    for (place, (one, digest)) in states.iter().enumerate() {
        for (other, other_digest) in &states[..place] {
            assert_ne!(digest, other_digest, "{one} and {other}");
        }
    }
}

#[test]
fn waking_too_early_changes_nothing() {
    let mut raft = busy_leader(1000);
    let (before, deadline) = (raft.fingerprint(), raft.deadline());
    let now = busy_leader(1000).deadline() - 1;
    for _ in 0..3 {
        raft.step(at(1000), Input::Wake);
        assert_eq!(raft.outputs(at(1000)), Outputs::default());
    }
    assert_eq!(raft.fingerprint(), before);
    raft.step(at(now), Input::Wake);
    assert_eq!(raft.outputs(at(now)), Outputs::default());
    assert_eq!(raft.deadline(), deadline);
}

/// Rule 12: who applies may be slow, and then the rest stays in the log.
#[test]
fn only_a_few_batches_wait_to_be_applied() {
    let mut raft = replica(1, &[1], at(0));
    let now = at(raft.deadline());
    let mut waiting = elect(&mut raft, now);
    let mut ends = Vec::new();
    for ticket in 0..50 {
        let proposal = Proposal::command(0, Bytes::new());
        raft.step(now, Input::Propose { ticket, proposal });
        // 2 has everything at once, and the disk too. Only the state machine is slow.
        loop {
            for message in std::mem::take(&mut waiting) {
                if let Some(reply) = acknowledged(&message) {
                    raft.step(now, Input::Message(reply));
                }
            }
            let out = raft.outputs(now);
            if let Apply::Entries(entries) = out.apply {
                ends.push(entries.last().expect("never none").position.index);
            }
            waiting = out.messages;
            match out.write {
                Some(write) => raft.step(
                    now,
                    Input::Flushed {
                        write: write.number,
                    },
                ),
                None if waiting.is_empty() => break,
                None => {}
            }
        }
    }
    assert_eq!(raft.committed(), raft.last().index);
    let handed = ends.len();
    assert!((1..10).contains(&handed), "{handed} batches wait");
    raft.step(now, Input::Applied { index: ends[0] });
    let next = raft.outputs(now).apply;
    assert_ne!(next, Apply::Nothing, "there is room for another");
}

/// What 2 answers to an append.
fn acknowledged(message: &Message) -> Option<Message> {
    let Body::Append(append) = &message.body else {
        return None;
    };
    let last = append.prev.index + append.entries.len() as u64;
    (message.to == ReplicaId(2)).then(|| Message {
        from: message.to,
        to: message.from,
        from_incarnation: 102,
        to_incarnation: None,
        body: Body::AppendReply(AppendReply {
            stamp: append.stamp,
            promise: 0,
            outcome: AppendOutcome::Matched(last),
        }),
        ..message.clone()
    })
}

/// Pitfall 11: replicas that were given the same seed don't campaign together, nor does one draw the same again, not
/// even after a restart.
#[test]
fn p11_waits_differ_by_replica_by_start_and_by_round() {
    let mut waits = BTreeSet::new();
    for (id, boot) in (1..=3).flat_map(|id| (1..=4).map(move |boot| (id, boot))) {
        let config = Config {
            boot,
            seed: 7,
            ..config(id)
        };
        let members = (1..=3).map(|id| Member::voter(id, ""));
        let mut restored = Restored::default();
        restored.base.membership = Membership::founders(members);
        let mut raft = Raft::new(config, restored, at(0)).expect("a timing that works");
        let mut now = 0;
        for _ in 0..4 {
            waits.insert(raft.deadline() - now);
            now = raft.deadline();
            raft.step(at(now), Input::Wake);
            raft.outputs(at(now));
        }
    }
    assert_eq!(waits.len(), 3 * 4 * 4);
}

/// Pitfall 57: the wall clock is stamped on entries, never going back along the log, and decides nothing.
#[test]
fn p57_a_wall_clock_that_jumps_only_moves_the_stamps() {
    const HOUR: u64 = 3_600_000_000_000;
    let play = |walls: [u64; 3]| {
        let mut raft = replica(1, &[1], at(0));
        let monotonic = raft.deadline();
        elect(&mut raft, at(monotonic));
        let mut times = Vec::new();
        let mut decisions = Vec::new();
        for (wall, ticket) in walls.into_iter().zip(0..) {
            let now = Now { monotonic, wall };
            raft.step(now, Input::Wake);
            let proposal = Proposal::command(0, Bytes::new());
            raft.step(now, Input::Propose { ticket, proposal });
            let out = raft.outputs(now);
            let write = out.write.expect("an entry to remember");
            times.extend(write.entries.iter().map(|entry| entry.time));
            decisions.push((out.messages.len(), out.events, out.proposed));
            decisions.push((raft.deadline() as usize, Vec::new(), Vec::new()));
        }
        (times, decisions)
    };
    let (steady, as_ever) = play([9 * HOUR, 9 * HOUR, 9 * HOUR]);
    let (jumping, though_it_jumps) = play([9 * HOUR, 8 * HOUR, 10 * HOUR]);
    assert_eq!(steady, [9 * HOUR; 3]);
    assert_eq!(jumping, [9 * HOUR, 9 * HOUR, 10 * HOUR]);
    assert_eq!(though_it_jumps, as_ever);
}
