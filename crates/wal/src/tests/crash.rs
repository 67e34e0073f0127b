//! Power cuts at every byte, kills, and rot at every byte.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use little_raft_core::{Restored, Write};

use super::disk::TestDisk;
use super::harness::*;
use crate::{OpenError, Wal};

fn history() -> Vec<Write> {
    vec![
        write(1, 3, 1),
        write(4, 2, 1),
        write(4, 6, 2),
        write(10, 1, 2),
        write(9, 4, 3),
        based(8, 2),
        write(13, 3, 3),
        write(16, 3, 3),
        write(19, 1, 4),
        write(20, 5, 4),
        based(19, 4),
        write(25, 5, 5),
        write(30, 5, 5),
        write(35, 5, 6),
    ]
}

/// Plays the history until something fails; says how many writes were acknowledged.
fn play(disk: &Arc<TestDisk>, writes: &[Write]) -> usize {
    let Ok((mut wal, _)) = open(disk) else {
        return 0;
    };
    for (count, write) in writes.iter().enumerate() {
        if wal.append(&[(GROUP, write)]).is_err() || wal.maintenance().is_err() {
            // The append may have ended well and only the upkeep failed; either is allowed by what is checked.
            return count;
        }
    }
    writes.len()
}

fn group(recovered: &crate::Recovered) -> Restored {
    recovered.groups.get(&GROUP).cloned().unwrap_or_default()
}

/// After a crash: all that was acknowledged, or that and the one write under way. Never anything else.
fn check_survives(disk: &Arc<TestDisk>, acknowledged: usize, writes: &[Write], at: u64) {
    let (mut wal, recovered) =
        open(disk).unwrap_or_else(|error| panic!("crash at {at}, {acknowledged} writes: {error}"));
    let found = group(&recovered);
    let with_next = (acknowledged + 1).min(writes.len());
    let held = (acknowledged..=with_next).find(|count| found == model(&writes[..*count]));
    let held = held.unwrap_or_else(|| panic!("crash at {at}, {acknowledged} writes: {found:?}"));
    // What was recovered is durable by now, and the log goes on.
    let mut all = writes[..held].to_vec();
    let next = write(found.last + 1, 2, 9);
    wal.append(&[(GROUP, &next)]).expect("appends");
    all.push(next);
    drop(wal);
    let (_wal, recovered) = open(&disk.after_power_cut()).expect("opens again");
    assert_eq!(group(&recovered), model(&all), "second crash after {at}");
}

#[test]
fn p49_power_cut_at_every_byte_loses_nothing_acknowledged() {
    let writes = history();
    let whole = Arc::new(TestDisk::default());
    assert_eq!(play(&whole, &writes), writes.len());
    let total = whole.written();
    assert!(total > 8000, "the history is too short: {total}");
    for at in 0..=total {
        let disk = Arc::new(TestDisk::default());
        disk.cut_power_after(at);
        let acknowledged = play(&disk, &writes);
        check_survives(&disk.after_power_cut(), acknowledged, &writes, at);
        check_survives(&disk.after_kill(), acknowledged, &writes, at);
    }
}

#[test]
fn unflushed_writes_torn_in_any_part_lose_nothing_acknowledged() {
    let writes = history();
    let whole = Arc::new(TestDisk::default());
    play(&whole, &writes);
    let total = whole.take_ops().len();
    for at in 0..total {
        let disk = Arc::new(TestDisk::default());
        disk.fail_op(at, io::ErrorKind::Other);
        let acknowledged = play(&disk, &writes);
        for seed in 0..12 {
            check_survives(&disk.after_tear(seed), acknowledged, &writes, at as u64);
        }
    }
}

#[test]
fn p60_failure_of_every_operation_loses_nothing_acknowledged() {
    let writes = history();
    let whole = Arc::new(TestDisk::default());
    play(&whole, &writes);
    let total = whole.take_ops().len();
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for at in 0..total {
            let disk = Arc::new(TestDisk::default());
            disk.fail_op(at, kind);
            let acknowledged = play(&disk, &writes);
            check_survives(&disk.after_power_cut(), acknowledged, &writes, at as u64);
        }
    }
}

fn files(disk: &TestDisk) -> Vec<PathBuf> {
    let paths = disk.paths().into_iter();
    paths.filter(|path| !path.ends_with("lock")).collect()
}

/// Turns every bit pattern of `flip` at every byte of every file, and says for how many the start was refused.
fn rot(disk: &Arc<TestDisk>, expected: &Restored, may_lose_last: Option<&Restored>) -> usize {
    let mut refused = 0;
    for path in files(disk) {
        let sound = disk.bytes(&path);
        for at in 0..sound.len() {
            let mut rotten = sound.clone();
            rotten[at] ^= 0x55;
            let image = disk.after_kill();
            image.set_bytes(&path, rotten);
            match open(&image) {
                Ok((_, recovered)) => {
                    let found = group(&recovered);
                    assert!(
                        found == *expected || Some(&found) == may_lose_last,
                        "byte {at} of {} lost {expected:?}, found {found:?}",
                        path.display()
                    );
                }
                Err(OpenError::Damaged(_) | OpenError::NewerFormat { .. }) => refused += 1,
                Err(other) => panic!("byte {at} of {}: {other}", path.display()),
            }
        }
    }
    refused
}

fn finished(writes: &[Write]) -> (Arc<TestDisk>, Wal) {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    for write in writes {
        wal.append(&[(GROUP, write)]).expect("appends");
        wal.maintenance().expect("upkeep");
    }
    (disk, wal)
}

#[test]
fn p47_rot_of_any_byte_is_refused_or_harmless_once_marked() {
    let writes = history();
    let (disk, mut wal) = finished(&writes);
    wal.mark().expect("marks");
    drop(wal);
    let refused = rot(&disk.after_power_cut(), &model(&writes), None);
    assert!(refused > 400, "only {refused} places count");
}

#[test]
fn rot_of_any_byte_before_the_marker_can_cost_only_the_newest_append() {
    let writes = history();
    let (disk, wal) = finished(&writes);
    drop(wal);
    let window = model(&writes[..writes.len() - 1]);
    rot(&disk.after_power_cut(), &model(&writes), Some(&window));
}

#[test]
fn every_file_that_must_exist_is_missed() {
    let (disk, mut wal) = finished(&history());
    wal.mark().expect("marks");
    drop(wal);
    for path in files(&disk) {
        if path.extension().is_some_and(|kind| kind == "recycled") {
            continue;
        }
        let image = disk.after_kill();
        image.forget(&path);
        let error = open(&image).map(|_| ()).expect_err("is missed");
        assert!(matches!(error, OpenError::Damaged(_)), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn p47_a_torn_tail_is_reported_and_never_written_over() {
    let writes = [write(1, 3, 1)];
    let (disk, mut wal) = finished(&writes);
    disk.cut_power_after(100);
    wal.append(&[(GROUP, &write(4, 3, 1))])
        .expect_err("the power is gone");
    drop(wal);
    let disk = disk.after_kill();
    let (mut wal, recovered) = open(&disk).expect("opens");
    let torn = recovered.torn.as_ref().expect("is reported").to_string();
    assert!(torn.contains("never acknowledged"), "{torn}");
    assert_eq!(group(&recovered), model(&writes));
    disk.take_ops();
    wal.append(&[(GROUP, &write(4, 1, 2))]).expect("appends");
    let in_next = |op: &super::disk::Op| matches!(op, super::disk::Op::Write(path, 0, _) if path.ends_with("0000000000000002.log"));
    assert!(disk.take_ops().iter().any(in_next));
    drop(wal);
    let (_wal, recovered) = open(&disk.after_power_cut()).expect("opens again");
    assert_eq!(recovered.torn, None);
    assert_eq!(group(&recovered).last, 4);
}

#[test]
fn a_manifest_that_forgot_a_begun_segment_is_not_believed() {
    let (disk, mut wal) = finished(&history()[..1]);
    let mut next = 4;
    let second = PathBuf::from(DIR).join("0000000000000002.log");
    while disk.bytes(&second)[0] == 0 {
        wal.append(&[(GROUP, &write(next, 1, 1))]).expect("appends");
        next += 1;
    }
    drop(wal);
    let path = PathBuf::from(DIR).join("manifest");
    let mut bytes = disk.bytes(&path);
    bytes[4096..].fill(0);
    disk.set_bytes(&path, bytes);
    let error = open(&disk).map(|_| ()).expect_err("is refused");
    assert!(error.to_string().contains("does not list it"), "{error}");
}

/// Two lives of one directory: a copy was started as well. A log pieced together from both is none.
#[test]
fn a_batch_of_another_history_does_not_continue_the_chain() {
    let (disk, wal) = finished(&[write(1, 1, 1)]);
    drop(wal);
    let live = |writes: &[Write]| {
        let disk = disk.after_kill();
        let (mut wal, _) = open(&disk).expect("opens");
        for write in writes {
            wal.append(&[(GROUP, write)]).expect("appends");
        }
        drop(wal);
        disk
    };
    let path = PathBuf::from(DIR).join("0000000000000001.log");
    let (one, other) = (
        live(&[write(2, 1, 1)]),
        live(&[write(2, 1, 2), write(3, 1, 2)]),
    );
    let mut pieced = one.bytes(&path);
    let end = pieced
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("it holds something")
        + 1;
    let end = end.next_multiple_of(8);
    pieced[end..].copy_from_slice(&other.bytes(&path)[end..]);
    one.set_bytes(&path, pieced);
    let (_wal, recovered) = open(&one).expect("the end is taken for an unfinished write");
    assert!(recovered.torn.is_some());
    assert_eq!(group(&recovered), model(&[write(1, 1, 1), write(2, 1, 1)]));
}
