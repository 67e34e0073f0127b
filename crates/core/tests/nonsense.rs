//! What no correct replica says: it panics nowhere (rule 11), and what can be seen to be wrong changes nothing.

use std::time::Duration;

use bytes::Bytes;
use little_raft_core::message::{
    Append, AppendOutcome, AppendReply, Ballot, Body, Content, Forward, ForwardReply, Heartbeat,
    Read, ReadReply, Snapshot, SnapshotOutcome, SnapshotReply, Stamp, Supply, Vote, VoteReply,
};
use little_raft_core::{
    Apply, Base, Codec, Config, Entry, EntryKind, Fetch, Identity, Input, Member, Membership,
    Message, Now, PieceOutcome, Position, Proposal, Raft, Refusal, ReplicaId, Restored, State,
    Timing,
};

const SECOND: u64 = 1_000_000_000;

/// Replica 1 of three, with an empty log, and a clock.
struct One {
    raft: Raft,
    now: u64,
    /// All that it had to send, oldest first.
    sent: Vec<Message>,
}

impl One {
    fn new() -> Self {
        let founders: Vec<Member> = (1..=3).map(|id| Member::voter(id, "")).collect();
        let identity = Identity {
            cluster: 9,
            replica: ReplicaId(1),
            incarnation: 101,
            boot: 1,
            founders: founders.clone(),
        };
        let base = Base {
            position: Position::default(),
            membership: Membership::founders(founders),
        };
        let restored = Restored {
            base,
            ..Restored::default()
        };
        let raft = Raft::new(Config::new(&identity, 0), restored, Now::default());
        Self {
            raft: raft.expect("a timing that works"),
            now: 0,
            sent: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.now,
            wall: 5,
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.now();
        self.raft.step(now, input);
        loop {
            let out = self.raft.outputs(now);
            self.sent.extend(out.messages);
            let mut inputs = Vec::new();
            inputs.extend(out.write.map(|write| Input::Flushed {
                write: write.number,
            }));
            if let Apply::Entries(entries) = out.apply {
                let index = entries.last().expect("never none").position.index;
                inputs.push(Input::Applied { index });
            }
            // There is no storage behind it: no piece can be stored, and nothing old can be read.
            inputs.extend(out.pieces.into_iter().map(|piece| Input::PieceStored {
                from: piece.from,
                transfer: piece.piece.transfer,
                outcome: PieceOutcome::Failed,
            }));
            inputs.extend(
                out.fetch
                    .into_iter()
                    .map(|Fetch { to, .. }| Input::Fetched {
                        to,
                        entries: Vec::new(),
                    }),
            );
            if inputs.is_empty() {
                return;
            }
            inputs
                .into_iter()
                .for_each(|input| self.raft.step(now, input));
        }
    }

    fn hear(&mut self, from: u64, term: u64, body: Body) {
        self.step(message(from, term, body));
    }

    /// Follows 2 in term 5 and has its entries 1@5 to 3@5.
    fn following() -> Self {
        let mut one = Self::new();
        let entries = (1..=3).map(|index| entry(index, 5)).collect();
        one.hear(2, 5, append(Position::default(), entries));
        assert_eq!(one.raft.leader(), Some(ReplicaId(2)));
        assert_eq!(one.raft.last(), Position::new(3, 5));
        one
    }

    /// Has heard of 2 no more for long.
    fn waiting() -> Self {
        let mut one = Self::following();
        one.now = one.raft.deadline();
        one.step(Input::Wake);
        assert_eq!(one.raft.leader(), None);
        one
    }

    /// Leads, with 2's votes.
    fn leading() -> Self {
        let mut one = Self::new();
        for _ in 0..10 * SECOND / 100_000_000 {
            one.now += SECOND / 10;
            one.step(Input::Wake);
            while let Some(asked) = one.sent.pop() {
                if let (Body::Vote(vote), ReplicaId(2)) = (&asked.body, asked.to) {
                    let granted = VoteReply {
                        number: vote.number,
                        ballot: vote.ballot,
                        granted: true,
                        promise: 0,
                    };
                    one.hear(2, asked.term, Body::VoteReply(granted));
                }
            }
            if one.raft.state() == State::Leader {
                return one;
            }
        }
        panic!("it never leads");
    }
}

fn message(from: u64, term: u64, body: Body) -> Input {
    Input::Message(Message {
        cluster: 9,
        group: 0,
        from: ReplicaId(from),
        to: ReplicaId(1),
        from_incarnation: 100 + from,
        to_incarnation: None,
        boot: 1,
        term,
        body,
    })
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        position: Position::new(index, term),
        kind: EntryKind::Command,
        time: 0,
        checksum: 0,
        payload: Bytes::from_static(b"x"),
    }
}

fn append(prev: Position, entries: Vec<Entry>) -> Body {
    Body::Append(Append {
        stamp: Stamp {
            number: 1,
            ..Stamp::default()
        },
        prev,
        committed: 0,
        settled: 0,
        entries: entries.into(),
    })
}

#[test]
fn an_append_or_a_supply_that_nobody_would_send_is_not_taken() {
    let at = Position::new;
    let cases = [
        ("a gap behind prev", at(3, 5), vec![entry(5, 5)]),
        ("a gap within", at(3, 5), vec![entry(4, 5), entry(6, 5)]),
        (
            "the same index twice",
            at(3, 5),
            vec![entry(4, 5), entry(4, 5)],
        ),
        ("a falling term", at(3, 5), vec![entry(4, 5), entry(5, 4)]),
        ("a term below prev's", at(3, 5), vec![entry(4, 4)]),
        ("a term above the leader's", at(3, 5), vec![entry(4, 6)]),
        ("the end of all numbers", at(u64::MAX, 5), vec![entry(0, 5)]),
    ];
    for (what, prev, entries) in cases {
        let mut one = One::following();
        one.sent.clear();
        one.hear(2, 5, append(prev, entries.clone()));
        assert_eq!(one.raft.last(), at(3, 5), "{what}");
        let acknowledged = one.sent.iter().any(|message| {
            let Body::AppendReply(reply) = &message.body else {
                return false;
            };
            matches!(reply.outcome, AppendOutcome::Matched(index) if index > 3)
        });
        assert!(!acknowledged, "{what}");
        one.raft.check_invariants();
        let mut one = One::waiting();
        let (last, entries) = (at(9, 5), entries.into());
        let supply = Body::Supply(Supply {
            last,
            prev,
            entries,
        });
        one.hear(3, 5, supply);
        assert_eq!(one.raft.last(), at(3, 5), "{what}, as a supply");
        one.raft.check_invariants();
    }
}

/// What the first has proved of the log ends where the second cuts it.
#[test]
fn of_two_leaders_of_one_term_neither_commits_what_is_not_there() {
    let mut one = One::following();
    let Body::Append(mut other) = append(Position::default(), vec![entry(1, 4)]) else {
        unreachable!("made above");
    };
    other.committed = u64::MAX;
    one.hear(3, 5, Body::Append(other));
    assert_eq!(one.raft.last(), Position::new(1, 4));
    assert_eq!(one.raft.committed(), 1);
    one.raft.check_invariants();
    one.hear(3, 5, append(Position::new(3, 5), vec![entry(4, 5)]));
    one.raft.check_invariants();
}

#[test]
fn an_acknowledgement_beyond_the_log_counts_for_nothing() {
    let mut one = One::leading();
    one.step(Input::Propose {
        ticket: 1,
        proposal: Proposal::command(0, Bytes::from_static(b"x")),
    });
    let (term, last) = (one.raft.term(), one.raft.last().index);
    for index in [last + 1, last + 1_000_000, u64::MAX] {
        let reply = AppendReply {
            stamp: Stamp {
                number: 1,
                sent: one.now,
                round: 0,
            },
            promise: 0,
            outcome: AppendOutcome::Matched(index),
        };
        one.hear(2, term, Body::AppendReply(reply));
        assert_eq!(one.raft.committed(), 0, "acknowledged up to {index}");
        one.raft.check_invariants();
    }
}

#[test]
fn a_stranger_borrows_nothing() {
    let lends_to = |id| {
        let mut one = One::following();
        let now = one.now();
        one.raft.step(now, message(id, 5, Body::Borrow(0)));
        let begun = one.raft.outputs(now).send_snapshot;
        begun.iter().any(|send| send.to == ReplicaId(id))
    };
    assert!(lends_to(3));
    assert!(!lends_to(4));
}

#[test]
fn a_snapshot_of_what_cannot_be_is_not_stored() {
    let mut one = One::following();
    let piece = |index, term| {
        Body::Snapshot(Snapshot {
            transfer: 1,
            base: Base {
                position: Position::new(index, term),
                ..Base::default()
            },
            content: Content::Made(1),
            offset: 0,
            data: Bytes::new(),
            done: true,
            elsewhere: None,
        })
    };
    let answers = |one: &mut One, index, term| {
        one.sent.clear();
        one.hear(2, 5, piece(index, term));
        one.sent.len()
    };
    assert_eq!(answers(&mut one, u64::MAX, 5), 0);
    assert_eq!(answers(&mut one, 10, 6), 0, "of a term after its sender's");
    assert_eq!(answers(&mut one, 10, 5), 1, "a plausible one is looked at");
}

#[test]
fn a_timing_that_cannot_work_is_not_taken_over() {
    let mut one = One::following();
    let mut membership = Membership::founders((1..=3).map(|id| Member::voter(id, "")));
    membership.version = 1;
    membership.timing = Some(Timing {
        heartbeat: Duration::from_nanos(u64::MAX),
        election: Duration::from_nanos(u64::MAX),
    });
    let payload = membership.to_bytes();
    let entry = Entry {
        kind: EntryKind::Membership,
        payload,
        ..entry(4, 5)
    };
    one.hear(2, 5, append(Position::new(3, 5), vec![entry]));
    assert_eq!(one.raft.last(), Position::new(4, 5));
    assert!(one.raft.deadline() < 10 * SECOND);
}

/// The next change of members would go beyond the greatest version that can be.
#[test]
fn a_membership_that_cannot_be_is_not_taken_over() {
    let mut one = One::following();
    let mut membership = Membership::founders((1..=3).map(|id| Member::voter(id, "")));
    membership.version = u64::MAX;
    let entry = Entry {
        kind: EntryKind::Membership,
        payload: membership.to_bytes(),
        ..entry(4, 5)
    };
    one.hear(2, 5, append(Position::new(3, 5), vec![entry]));
    assert_eq!(one.raft.last(), Position::new(3, 5));
    assert_ne!(one.raft.membership().version, u64::MAX);
}

/// Numbers as they occur, a little off, and the ends.
struct Any(u64);

impl Any {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn number(&mut self, usual: u64) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX - 1,
            3 => 1 << 62,
            4 => usual.saturating_add(1),
            5 => usual.saturating_sub(1),
            6 => usual,
            _ => self.below(8),
        }
    }

    fn position(&mut self, raft: &Raft) -> Position {
        let last = raft.last();
        Position::new(self.number(last.index), self.number(last.term))
    }

    fn body(&mut self, raft: &Raft, heard: Option<&Message>) -> Body {
        let last = raft.last().index;
        // Sometimes an answer to something that was really asked.
        let number = match heard.map(|message| &message.body) {
            Some(Body::Vote(vote)) => vote.number,
            Some(Body::Append(append)) => append.stamp.number,
            Some(Body::Snapshot(piece)) => piece.transfer,
            Some(Body::Forward(forward)) => forward.sequence,
            Some(Body::Read(read)) => read.number,
            _ => self.number(1),
        };
        let ballots = [Ballot::Pre, Ballot::Real, Ballot::Transfer];
        match self.below(13) {
            0 => Body::Vote(Vote {
                number,
                ballot: ballots[self.below(3) as usize],
                last: self.position(raft),
            }),
            1 => Body::VoteReply(VoteReply {
                number,
                ballot: ballots[self.below(3) as usize],
                granted: self.below(4) > 0,
                promise: self.number(0),
            }),
            2 | 3 => {
                let prev = self.position(raft);
                let terms = self.number(prev.term);
                let follow = prev.index.wrapping_add(1);
                Body::Append(Append {
                    stamp: Stamp {
                        number,
                        sent: self.number(1),
                        round: self.number(1),
                    },
                    prev,
                    committed: self.number(last),
                    settled: self.number(last),
                    entries: (0..self.below(3))
                        .map(|more| entry(follow.wrapping_add(more), terms))
                        .collect(),
                })
            }
            4 | 5 => Body::AppendReply(AppendReply {
                stamp: Stamp {
                    number,
                    sent: self.number(1),
                    round: self.number(1),
                },
                promise: self.number(0),
                outcome: match self.below(5) {
                    0 => AppendOutcome::Heard,
                    1 | 2 => AppendOutcome::Matched(self.number(last)),
                    _ => AppendOutcome::Rejected {
                        prev: self.number(last),
                        hint: self.position(raft),
                    },
                },
            }),
            6 => Body::Snapshot(self.piece(raft, number)),
            7 => Body::SnapshotReply(SnapshotReply {
                transfer: number,
                outcome: match self.below(3) {
                    0 => SnapshotOutcome::Stored(self.number(5)),
                    1 => SnapshotOutcome::Installed,
                    _ => SnapshotOutcome::Refused,
                },
            }),
            8 => Body::Forward(Forward {
                sequence: number,
                proposal: Proposal::command(0, Bytes::from_static(b"x")),
            }),
            9 => Body::ForwardReply(ForwardReply {
                sequence: number,
                outcome: match self.below(2) {
                    0 => Ok(self.position(raft)),
                    _ => Err(Refusal::Busy),
                },
            }),
            10 => {
                let prev = self.position(raft);
                let terms = self.number(prev.term);
                let follow = prev.index.wrapping_add(1);
                Body::Supply(Supply {
                    last: self.position(raft),
                    prev,
                    entries: (0..self.below(3))
                        .map(|more| entry(follow.wrapping_add(more), terms))
                        .collect(),
                })
            }
            _ => match self.below(6) {
                0 => Body::Read(Read { number }),
                1 => Body::ReadReply(ReadReply {
                    number,
                    index: self.number(last),
                }),
                2 => Body::Heartbeat(Heartbeat {
                    stamp: Stamp {
                        number,
                        sent: self.number(1),
                        round: self.number(1),
                    },
                    committed: self.number(last),
                }),
                3 => Body::Borrow(self.number(last)),
                4 => Body::Lent(self.piece(raft, number)),
                _ => Body::Campaign,
            },
        }
    }

    fn piece(&mut self, raft: &Raft, transfer: u64) -> Snapshot {
        Snapshot {
            transfer,
            base: Base {
                position: self.position(raft),
                membership: raft.membership().clone(),
            },
            content: Content::Made(transfer),
            offset: self.number(0),
            data: Bytes::from_static(b"piece"),
            done: self.below(2) == 0,
            elsewhere: Some(ReplicaId(1 + self.below(3))),
        }
    }
}

#[test]
fn whatever_members_say_nobody_panics() {
    let mut parts = [0; 3];
    for seed in 1..=1_500_u64 {
        let mut any = Any(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut one = match seed % 3 {
            0 => One::new(),
            1 => One::following(),
            _ => One::leading(),
        };
        for ticket in 0..60 {
            one.now += any.below(SECOND / 20);
            match any.below(8) {
                0 => one.step(Input::Wake),
                1 => one.step(Input::Propose {
                    ticket,
                    proposal: Proposal::command(0, Bytes::from_static(b"x")),
                }),
                2 => one.step(Input::Read { ticket }),
                _ => {
                    let heard = one.sent.pop();
                    let body = any.body(&one.raft, heard.as_ref());
                    // Terms rise a step at a time, or the first liar would end the story.
                    let term = (one.raft.term() + 1).saturating_sub(any.below(5) / 2);
                    one.hear(2 + any.below(2), term, body);
                }
            }
            parts[match one.raft.state() {
                State::Leader => 0,
                State::Follower => 1,
                State::PreCandidate | State::Candidate => 2,
            }] += 1;
        }
    }
    assert!(parts.iter().all(|times| *times > 1_000), "{parts:?}");
}
