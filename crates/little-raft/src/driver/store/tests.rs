//! Received snapshots: whole and of one content, or not there.

use std::io::Read;

use bytes::Bytes;
use little_raft_core::{Membership, Position};

use super::super::pieces::Whole;
use super::*;
use crate::machine::Snapshot;
use crate::memory::MemoryStorage;
use crate::storage::Storage;

const AT: Position = Position { term: 1, index: 5 };
const LEADER: ReplicaId = ReplicaId(2);
const NEXT_LEADER: ReplicaId = ReplicaId(3);

struct Receiver {
    storage: MemoryStorage,
    store: Store,
}

impl Receiver {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        Self {
            store: Store::new(storage.reader(), storage.snapshots()),
            storage,
        }
    }

    fn take(&mut self, from: ReplicaId, piece: message::Snapshot) -> PieceOutcome {
        take(&mut self.store, from, piece)
    }

    fn received(&self) -> Option<Vec<u8>> {
        let mut stream = self.storage.snapshots().open(AT).ok()?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).expect("memory is read");
        Some(read)
    }
}

fn take(store: &mut Store, from: ReplicaId, piece: message::Snapshot) -> PieceOutcome {
    match store.run(StoreWork::Piece(ReceivedPiece { from, piece })) {
        Input::PieceStored { outcome, .. } => outcome,
        input => panic!("a piece was stored, not {input:?}"),
    }
}

fn whole(state: &str) -> Vec<u8> {
    let (mut stream, view) = (Vec::new(), state.as_bytes().to_vec());
    let sessions = Bytes::new();
    let written = Whole { sessions, view }.write_to(&mut stream);
    written.expect("memory takes it");
    stream
}

fn kept(stream: &[u8]) -> Content {
    let trailer = stream.last_chunk().expect("it has a trailer");
    Content::Kept {
        length: stream.len() as u64,
        checksum: u32::from_le_bytes(*trailer),
    }
}

/// The bytes of `stream` in `range`, as a piece of `content`.
fn piece(content: Content, stream: &[u8], range: std::ops::Range<usize>) -> message::Snapshot {
    message::Snapshot {
        transfer: 1,
        base: Base {
            position: AT,
            ..Base::default()
        },
        content,
        offset: range.start as u64,
        data: Bytes::copy_from_slice(&stream[range.clone()]),
        done: range.end == stream.len(),
        elsewhere: None,
    }
}

fn question(piece: &message::Snapshot) -> message::Snapshot {
    message::Snapshot {
        offset: 0,
        data: Bytes::new(),
        done: false,
        ..piece.clone()
    }
}

#[test]
fn a_received_snapshot_is_whole_or_not_there() {
    let mut receiver = Receiver::new();
    let sound = whole("a state");
    for place in 0..sound.len() {
        let mut bad = sound.clone();
        bad[place] ^= 1;
        let content = Content::Made(place as u64);
        receiver.take(LEADER, piece(content, &bad, 0..9));
        let outcome = receiver.take(LEADER, piece(content, &bad, 9..bad.len()));
        assert_eq!(outcome, PieceOutcome::Failed, "byte {place}");
        assert_eq!(receiver.received(), None, "byte {place}");
    }
    let content = kept(&sound);
    receiver.take(LEADER, piece(content, &sound, 0..9));
    let outcome = receiver.take(LEADER, piece(content, &sound, 9..sound.len()));
    assert!(matches!(outcome, PieceOutcome::Complete(base) if base.position == AT));
    assert_eq!(receiver.received(), Some(sound));
}

#[test]
fn one_content_is_gone_on_with_by_whoever_has_it() {
    let mut receiver = Receiver::new();
    let stream = whole("a state");
    let content = kept(&stream);
    receiver.take(LEADER, piece(content, &stream, 0..9));
    let rest = piece(content, &stream, 9..stream.len());
    let other = message::Snapshot {
        transfer: 77,
        ..rest
    };
    let outcome = receiver.take(NEXT_LEADER, question(&other));
    assert_eq!(outcome, PieceOutcome::Stored(9));
    let outcome = receiver.take(NEXT_LEADER, other);
    assert!(matches!(outcome, PieceOutcome::Complete(_)));
    assert_eq!(receiver.received(), Some(stream));
}

#[test]
fn contents_of_one_position_are_never_put_together() {
    let (one, two) = (whole("one state"), whole("the state"));
    assert_eq!(one.len(), two.len());
    let mut members = Base {
        position: AT,
        membership: Membership::default(),
    };
    members.membership.version = 7;
    let with_other_members = message::Snapshot {
        base: members,
        ..piece(kept(&one), &two, 9..two.len())
    };
    for (what, from, other) in [
        ("kept", LEADER, piece(kept(&two), &two, 9..two.len())),
        ("made", LEADER, piece(Content::Made(1), &two, 9..two.len())),
        ("of other members", LEADER, with_other_members),
    ] {
        let mut receiver = Receiver::new();
        receiver.take(LEADER, piece(kept(&one), &one, 0..9));
        let outcome = receiver.take(from, other.clone());
        assert_eq!(
            outcome,
            PieceOutcome::Failed,
            "{what}: it has nothing of it"
        );
        let rest = piece(kept(&one), &one, 9..one.len());
        let outcome = receiver.take(LEADER, question(&rest));
        assert_eq!(
            outcome,
            PieceOutcome::Stored(9),
            "{what}: what it has stays"
        );
        let outcome = receiver.take(from, question(&other));
        assert_eq!(outcome, PieceOutcome::Stored(0), "{what}: it begins anew");
        let outcome = receiver.take(LEADER, rest);
        assert_eq!(outcome, PieceOutcome::Failed, "{what}: the first is gone");
        assert_eq!(receiver.received(), None);
    }
}

#[test]
fn what_is_made_as_it_is_sent_is_gone_on_with_by_its_sender_alone() {
    let mut receiver = Receiver::new();
    let stream = whole("a state");
    let content = Content::Made(1);
    receiver.take(LEADER, piece(content, &stream, 0..9));
    let rest = piece(content, &stream, 9..stream.len());
    let outcome = receiver.take(LEADER, question(&rest));
    assert_eq!(outcome, PieceOutcome::Stored(9));
    let outcome = receiver.take(NEXT_LEADER, question(&rest));
    assert_eq!(outcome, PieceOutcome::Stored(0));
}

#[test]
fn pieces_that_cannot_be_are_refused() {
    let mut receiver = Receiver::new();
    let stream = whole("a state");
    let content = kept(&stream);
    receiver.take(LEADER, piece(content, &stream, 0..9));
    let beyond = message::Snapshot {
        offset: u64::MAX,
        ..piece(content, &stream, 9..stream.len())
    };
    assert_eq!(receiver.take(LEADER, beyond), PieceOutcome::Stored(9));
    let too_long = message::Snapshot {
        offset: 9,
        ..piece(content, &stream, 0..stream.len())
    };
    assert_eq!(receiver.take(LEADER, too_long), PieceOutcome::Failed);
    let endless = Content::Kept {
        length: u64::MAX,
        checksum: 7,
    };
    let outcome = receiver.take(LEADER, piece(endless, &stream, 0..9));
    assert_eq!(
        outcome,
        PieceOutcome::Stored(9),
        "nothing is reserved for it"
    );
}

/// What a loss of power leaves of it may be anything.
#[cfg(feature = "wal")]
#[test]
fn what_a_restart_finds_of_a_snapshot_is_gone_on_with_and_thrown_away_if_it_rotted() {
    let dir = std::env::temp_dir().join(format!("little-raft-part-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let stream = whole("a state");
    let content = kept(&stream);
    let (first, rest) = (
        piece(content, &stream, 0..9),
        piece(content, &stream, 9..stream.len()),
    );
    let restart = || {
        let mut storage = crate::WalStorage::new(&dir).without_threads();
        let opened = storage.open(&crate::Founding {
            cluster: 1,
            replica: ReplicaId(1),
            incarnation: 1,
            founders: Vec::new(),
        });
        opened.expect("it opens");
        (Store::new(storage.reader(), storage.snapshots()), storage)
    };
    for (rots, expected) in [
        (true, PieceOutcome::Failed),
        (false, PieceOutcome::Complete(rest.base.clone())),
    ] {
        let (mut store, storage) = restart();
        assert_eq!(
            take(&mut store, LEADER, first.clone()),
            PieceOutcome::Stored(9)
        );
        drop((store, storage));
        if rots {
            rot(&dir);
        }
        let (mut store, _storage) = restart();
        let outcome = take(&mut store, NEXT_LEADER, question(&rest));
        assert_eq!(outcome, PieceOutcome::Stored(9));
        assert_eq!(take(&mut store, NEXT_LEADER, rest.clone()), expected);
        let outcome = take(&mut store, NEXT_LEADER, question(&rest));
        assert_eq!(outcome, PieceOutcome::Stored(0), "nothing of it is left");
    }
    let _ = std::fs::remove_dir_all(&dir);
}

#[cfg(feature = "wal")]
fn rot(dir: &std::path::Path) {
    let files = std::fs::read_dir(dir.join("snapshots/0")).expect("it is a directory");
    let mut files = files.map(|file| file.expect("it can be read").path());
    let part = files.find(|file| file.extension() == Some("part".as_ref()));
    let part = part.expect("something has arrived");
    let mut bytes = std::fs::read(&part).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    std::fs::write(part, bytes).expect("it can be written");
}
