//! What can't be played in a script: a witness whose storage answers late, and what is no witness's business.

use bytes::Bytes;
use little_raft_core::message::{Append, Body, Content, Snapshot, SnapshotOutcome, Stamp};
use little_raft_core::{
    Base, Config, Entry, EntryKind, Identity, Input, Member, Membership, Message, Now, Position,
    Raft, ReplicaId, Restored,
};

const NOW: Now = Now {
    monotonic: 0,
    wall: 0,
};

/// Replica 1 of three, with the entries 1@5 to 3@5 of leader 2.
fn replica(witness: bool) -> Raft {
    let member = |id| match id == 1 && witness {
        true => Member::witness(id, ""),
        false => Member::voter(id, ""),
    };
    let founders: Vec<Member> = (1..=3).map(member).collect();
    let identity = Identity {
        cluster: 9,
        replica: ReplicaId(1),
        incarnation: 101,
        boot: 1,
        founders: founders.clone(),
    };
    let mut config = Config::new(&identity, 0);
    config.witness = witness;
    let base = Base {
        position: Position::default(),
        membership: Membership::founders(founders),
    };
    let restored = Restored {
        base,
        ..Restored::default()
    };
    let mut raft = Raft::new(config, restored, NOW).expect("a timing that works");
    let append = Append {
        stamp: Stamp::default(),
        prev: Position::default(),
        committed: 0,
        settled: 0,
        entries: (1..=3).map(|index| entry(index, 5)).collect(),
    };
    hear(&mut raft, Body::Append(append));
    raft
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

/// What it says once all is flushed.
fn said(raft: &mut Raft) -> Vec<Body> {
    let mut said = Vec::new();
    loop {
        let outputs = raft.outputs(NOW);
        said.extend(outputs.messages.into_iter().map(|it| it.body));
        match outputs.write.map(|write| write.number) {
            Some(write) => raft.step(NOW, Input::Flushed { write }),
            None => return said,
        }
    }
}

fn hear(raft: &mut Raft, body: Body) -> Vec<Body> {
    let message = Message {
        cluster: 9,
        group: 0,
        from: ReplicaId(2),
        to: ReplicaId(1),
        from_incarnation: 102,
        to_incarnation: None,
        boot: 1,
        term: 5,
        body,
    };
    raft.step(NOW, Input::Message(message));
    said(raft)
}

#[test]
fn a_witness_supplies_only_what_its_log_still_has() {
    let cases = [
        ("what it has", true, vec![entry(2, 5), entry(3, 5)], true),
        (
            "what was replaced",
            true,
            vec![entry(2, 4), entry(3, 5)],
            false,
        ),
        (
            "what it never had",
            true,
            vec![entry(3, 5), entry(4, 5)],
            false,
        ),
        ("nothing", true, vec![], false),
        (
            "what a leader has asked for",
            false,
            vec![entry(2, 5)],
            false,
        ),
    ];
    for (what, witness, entries, is_sent) in cases {
        let mut raft = replica(witness);
        let to = ReplicaId(2);
        raft.step(NOW, Input::Fetched { to, entries });
        let said = said(&mut raft);
        let supplied = said.iter().any(|it| matches!(it, Body::Supply(_)));
        assert_eq!(supplied, is_sent, "{what}");
    }
}

#[test]
fn where_the_log_begins_is_enough_for_a_witness_alone() {
    for (witness, data, outcome) in [
        (true, &b""[..], SnapshotOutcome::Installed),
        (true, b"a state", SnapshotOutcome::Refused),
        (false, b"", SnapshotOutcome::Refused),
    ] {
        let mut raft = replica(witness);
        let position = Position::new(9, 5);
        let piece = Snapshot {
            transfer: 1,
            base: Base {
                position,
                membership: raft.membership().clone(),
            },
            content: Content::Made(1),
            offset: 0,
            data: Bytes::from_static(data),
            done: true,
            elsewhere: None,
        };
        let said = hear(&mut raft, Body::Snapshot(piece));
        let answer = said.iter().find_map(|it| match it {
            Body::SnapshotReply(reply) => Some(reply.outcome),
            _ => None,
        });
        assert_eq!(answer, Some(outcome), "{witness}, {data:?}");
        let begins_there = raft.base() == position;
        assert_eq!(begins_there, outcome == SnapshotOutcome::Installed);
        raft.check_invariants();
    }
}
