//! Snapshots: whole or not at all, and the older one when the newest is damaged.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use little_raft_core::{Base, Position};

use super::disk::TestDisk;
use super::harness::based;
use crate::{SnapshotError, SnapshotStore, SnapshotWriter};

const DIR: &str = "snapshots";

fn store(disk: &Arc<TestDisk>) -> SnapshotStore {
    SnapshotStore::open(disk.clone(), Path::new(DIR)).expect("opens")
}

fn base(index: u64) -> Base {
    *based(index, 1).base.expect("has one")
}

fn content(index: u64) -> Vec<u8> {
    (0..700_000u64).map(|at| (at * 31 + index) as u8).collect()
}

fn short(index: u64) -> Vec<u8> {
    content(index)[..90].to_vec()
}

fn save(store: &SnapshotStore, index: u64, content: &[u8]) -> Result<(), SnapshotError> {
    let mut writer = store.begin(&base(index))?;
    for piece in content.chunks(50_001) {
        writer.write(piece)?;
    }
    writer.finish().map(|_| ())
}

#[test]
fn the_newest_two_are_kept_and_the_newest_is_read() {
    let disk = Arc::new(TestDisk::default());
    let store = store(&disk);
    for index in [10, 20, 30] {
        save(&store, index, &content(index)).expect("saves");
    }
    let positions = [Position::new(20, 1), Position::new(30, 1)];
    assert_eq!(store.list().expect("lists"), positions);
    let newest = store.newest(Position::new(20, 1)).expect("is intact");
    let mut snapshot = newest.snapshot.expect("is there");
    assert_eq!(*snapshot.base(), base(30));
    let mut read = Vec::new();
    snapshot.read_to_end(&mut read).expect("reads");
    assert_eq!(read, content(30));
    let mut pieces = Vec::new();
    while (pieces.len() as u64) < snapshot.length() {
        let piece = snapshot.piece(pieces.len() as u64, 65_536).expect("reads");
        pieces.extend_from_slice(&piece);
    }
    assert_eq!(pieces, content(30));
}

#[test]
fn p43_a_power_cut_at_every_byte_leaves_the_old_or_the_new() {
    let begun = Arc::new(TestDisk::default());
    save(&store(&begun), 10, &short(10)).expect("saves");
    for at in 0.. {
        let disk = begun.after_power_cut();
        disk.cut_power_after(at);
        let saved = save(&store(&disk), 20, &short(20)).is_ok();
        for image in [disk.after_power_cut(), disk.after_kill()] {
            let newest = store(&image)
                .newest(Position::new(10, 1))
                .expect("one is whole");
            assert!(newest.damaged.is_empty(), "cut at {at}");
            let mut snapshot = newest.snapshot.expect("one is there");
            let index = snapshot.base().position.index;
            assert!(
                index == 20 || !saved,
                "cut at {at}: a finished snapshot is gone"
            );
            let mut read = Vec::new();
            snapshot.read_to_end(&mut read).expect("reads");
            assert_eq!(read, short(index));
            assert!(
                !image
                    .paths()
                    .iter()
                    .any(|path| path.extension() == Some("tmp".as_ref()))
            );
        }
        if saved {
            return;
        }
    }
}

#[test]
fn rot_of_any_byte_of_the_newest_falls_back_to_the_older() {
    let disk = Arc::new(TestDisk::default());
    for index in [10, 20] {
        save(&store(&disk), index, &short(index)).expect("saves");
    }
    let path = disk.paths().pop().expect("has two");
    let sound = disk.bytes(&path);
    for at in 0..sound.len() {
        let mut rotten = sound.clone();
        rotten[at] ^= 0x55;
        disk.set_bytes(&path, rotten);
        let newest = match store(&disk).newest(Position::new(10, 1)) {
            Ok(newest) => newest,
            Err(SnapshotError::NewerFormat { .. }) if (8..12).contains(&at) => continue,
            Err(error) => panic!("byte {at}: {error}"),
        };
        assert_eq!(newest.damaged.len(), 1, "byte {at}");
        let snapshot = newest.snapshot.expect("the older serves");
        assert_eq!(snapshot.base().position.index, 10);
        // With the log given up behind the older one, nothing serves.
        match store(&disk).newest(Position::new(11, 1)) {
            Err(SnapshotError::Unusable { .. }) => {}
            other => panic!("byte {at}: {:?}", other.map(|newest| newest.damaged)),
        }
    }
}

#[test]
fn pieces_may_come_twice_and_a_gap_is_not_taken() {
    let disk = Arc::new(TestDisk::default());
    let mut writer = store(&disk).begin(&base(5)).expect("begins");
    assert_eq!(writer.piece(0, b"abcd").expect("stores"), 4);
    assert_eq!(writer.piece(0, b"abcd").expect("stores"), 4);
    assert_eq!(writer.piece(9, b"xyz").expect("stores"), 4);
    assert_eq!(writer.piece(2, b"cdef").expect("stores"), 6);
    let mut reader = writer.finish_temporary().expect("ends");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("reads");
    assert_eq!(text, "abcdef");
    drop(reader);
    assert_eq!(
        disk.paths(),
        [] as [&Path; 0],
        "a temporary one leaves nothing"
    );
}

#[test]
fn p43_a_log_without_its_snapshot_says_so() {
    let disk = Arc::new(TestDisk::default());
    let store = store(&disk);
    assert!(
        store
            .newest(Position::default())
            .expect("none is needed")
            .snapshot
            .is_none()
    );
    let error = store
        .newest(Position::new(9, 2))
        .map(|_| ())
        .expect_err("one is needed");
    assert!(error.to_string().contains("9@2"), "{error}");
}

/// A name that a killed process left in the machine's memory is believed by the next start, which must make it durable.
#[test]
fn p46_a_snapshot_that_a_start_has_seen_survives_a_power_cut() {
    for failing in 0..8 {
        let disk = Arc::new(TestDisk::default());
        let first = store(&disk);
        save(&first, 10, &short(10)).expect("saves");
        disk.take_ops();
        disk.fail_op(failing, std::io::ErrorKind::Other);
        let saved = save(&first, 20, &short(20));
        disk.take_ops();
        disk.fail_op(usize::MAX / 2, std::io::ErrorKind::Other);
        let seen = store(&disk).list().expect("lists");
        let kept = store(&disk.after_power_cut()).list().expect("lists");
        assert_eq!(kept, seen, "operation {failing} failed: {saved:?}");
    }
}

fn arrived(disk: &Arc<TestDisk>, content: &str) -> (SnapshotWriter, u64) {
    let writer = store(disk).receive(&base(20), content).expect("begins");
    let length = writer.length();
    (writer, length)
}

#[test]
fn what_arrives_outlives_its_writer_and_the_process_and_is_gone_on_with() {
    let disk = Arc::new(TestDisk::default());
    let sound = content(20);
    for (round, piece) in sound.chunks(300_000).enumerate() {
        let (mut writer, length) = arrived(&disk, "a");
        assert_eq!(length, round as u64 * 300_000);
        let before = crc32c::crc32c(&sound[..length as usize]);
        assert_eq!(writer.checksum(), before);
        writer.write(piece).expect("stores");
    }
    let (writer, _) = arrived(&disk, "a");
    writer.finish().expect("finishes");
    let newest = store(&disk)
        .newest(Position::new(20, 1))
        .expect("is intact");
    let mut read = Vec::new();
    let mut snapshot = newest.snapshot.expect("is there");
    snapshot.read_to_end(&mut read).expect("reads");
    assert_eq!(read, sound);
    assert_eq!(disk.paths().len(), 1, "nothing else is left");
}

#[test]
fn what_arrives_of_another_content_or_base_begins_anew_and_only_one_is_there() {
    let disk = Arc::new(TestDisk::default());
    let (mut writer, _) = arrived(&disk, "a");
    writer.write(b"of a").expect("stores");
    drop(writer);
    let (mut writer, length) = arrived(&disk, "b");
    assert_eq!((length, disk.paths().len()), (0, 1));
    writer.write(b"of b").expect("stores");
    drop(writer);
    let other = Base {
        position: Position::new(20, 1),
        ..Base::default()
    };
    let writer = store(&disk).receive(&other, "b").expect("begins");
    assert_eq!(writer.length(), 0, "with other members");
    drop(writer);
    let (writer, length) = arrived(&disk, "b");
    assert_eq!(length, 0);
    writer.discard();
    assert_eq!(disk.paths(), [] as [&Path; 0], "given up, it is gone");
}

#[test]
fn what_arrives_goes_away_once_a_newer_snapshot_is_there() {
    let disk = Arc::new(TestDisk::default());
    for (index, is_left) in [(10, true), (30, false)] {
        let (mut writer, _) = arrived(&disk, "a");
        writer.write(b"of a").expect("stores");
        drop(writer);
        save(&store(&disk), index, &short(index)).expect("saves");
        let (_, length) = arrived(&disk, "a");
        assert_eq!(length > 0, is_left, "a snapshot of {index}");
    }
}

#[test]
fn a_snapshot_is_read_from_anywhere_and_checked_if_read_whole() {
    let disk = Arc::new(TestDisk::default());
    save(&store(&disk), 10, &short(10)).expect("saves");
    let open = || store(&disk).at(Position::new(10, 1)).expect("opens");
    let mut reader = open();
    for at in [89, 0, 40, 90] {
        reader.seek(SeekFrom::Start(at)).expect("is inside");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("reads");
        assert_eq!(read, short(10)[at as usize..]);
    }
    assert!(reader.seek(SeekFrom::Start(91)).is_err());
    assert!(reader.seek(SeekFrom::End(-91)).is_err());
    let path = disk.paths().pop().expect("is there");
    let mut rotten = disk.bytes(&path);
    let place = rotten.len() - 30;
    rotten[place] ^= 1;
    disk.set_bytes(&path, rotten);
    let mut reader = open();
    reader.seek(SeekFrom::Start(40)).expect("is inside");
    reader.seek(SeekFrom::Start(0)).expect("is inside");
    let error = reader.read_to_end(&mut Vec::new()).expect_err("it rotted");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
