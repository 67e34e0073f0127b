//! Errors on the way: each said clearly, none losing what was acknowledged.

use std::io;
use std::path::Path;
use std::sync::Arc;

use little_raft_core::{Entry, HardState, Member, Position, ReplicaId, Write};

use super::disk::{Op, TestDisk};
use super::harness::*;
use crate::{AppendError, Founding, OpenError, ReadError, Wal};

#[test]
fn one_append_is_one_write_and_one_flush_also_where_a_segment_begins() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    let mut begun = 0;
    for index in 1..60 {
        wal.maintenance().expect("upkeep");
        disk.take_ops();
        let (one, two) = (write(index, 1, 1), write(index, 1, 1));
        wal.append(&[(1, &one), (2, &two)]).expect("appends");
        let ops = disk.take_ops();
        let [Op::Write(written, offset, _), Op::Sync(flushed)] = &ops[..] else {
            panic!("append {index} did {ops:?}");
        };
        assert_eq!(written, flushed);
        begun += usize::from(*offset == 0);
    }
    assert!(begun > 5, "only {begun} segments were begun");
}

#[test]
fn p46_failed_flush_and_failed_write_close_the_log_for_good() {
    for (at, doing) in ["write", "flush"].iter().enumerate() {
        let disk = Arc::new(TestDisk::default());
        let (mut wal, _) = open(&disk).expect("opens");
        wal.append(&[(GROUP, &write(1, 1, 1))]).expect("appends");
        disk.take_ops();
        disk.fail_op(at, io::ErrorKind::Other);
        let next = write(2, 1, 1);
        let error = wal.append(&[(GROUP, &next)]).expect_err(doing);
        assert!(matches!(error, AppendError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("must stop"), "{error}");
        disk.take_ops();
        for _ in 0..2 {
            let error = wal.append(&[(GROUP, &next)]).expect_err("stays closed");
            assert!(matches!(error, AppendError::Closed { .. }), "{error}");
        }
        assert!(matches!(wal.mark(), Err(AppendError::Closed { .. })));
        assert!(matches!(wal.maintenance(), Err(AppendError::Closed { .. })));
        assert_eq!(
            disk.take_ops(),
            [],
            "nothing touches the disk after the failed {doing}"
        );
    }
}

#[test]
fn p46_what_a_killed_process_left_unflushed_is_flushed_at_the_next_start() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    disk.take_ops();
    disk.fail_op(1, io::ErrorKind::Other);
    wal.append(&[(GROUP, &write(1, 1, 1))])
        .expect_err("the flush fails");
    drop(wal);
    // The machine's memory still shows the write, the disk never got it.
    let (_wal, recovered) = open(&disk).expect("opens");
    assert_eq!(recovered.groups[&GROUP].last, 1);
    let (_wal, recovered) = open(&disk.after_power_cut()).expect("opens");
    assert_eq!(
        recovered.groups[&GROUP].last, 1,
        "what a start believed is durable"
    );
}

/// The same whichever operation failed, in the log, its manifest or the preparing of its next segment: the machine's
/// memory shows what the disk may not have, and the next start builds on it.
#[test]
fn p46_what_any_failed_operation_left_is_flushed_before_anything_is_built_on_it() {
    let mut is_over = false;
    for failing in 0.. {
        let disk = Arc::new(TestDisk::default());
        let (mut wal, _) = open(&disk).expect("opens");
        wal.append(&[(GROUP, &write(1, 1, 1))]).expect("appends");
        disk.take_ops();
        disk.fail_op(failing, io::ErrorKind::Other);
        let mut index = 2;
        while index < 60 && step(&mut wal, index).is_ok() {
            index += 1;
        }
        is_over |= index == 60;
        drop(wal);
        if is_over {
            break;
        }
        disk.take_ops();
        disk.fail_op(usize::MAX / 2, io::ErrorKind::Other);
        let (mut wal, recovered) = open(&disk).unwrap_or_else(|error| panic!("{failing}: {error}"));
        let last = recovered.groups[&GROUP].last;
        assert!(
            last + 1 >= index,
            "{failing}: an acknowledged entry is gone"
        );
        for index in last + 1..last + 4 {
            wal.append(&[(GROUP, &write(index, 1, 1))])
                .expect("appends");
        }
        drop(wal);
        let opened = open(&disk.after_power_cut());
        let (_wal, recovered) = opened.unwrap_or_else(|error| panic!("{failing}: {error}"));
        assert_eq!(recovered.groups[&GROUP].last, last + 3, "{failing}");
    }
}

/// Appends an entry, drops the head of the log, and prepares what comes next.
fn step(wal: &mut Wal, index: u64) -> Result<(), AppendError> {
    let writes = [(GROUP, &write(index, 1, 1)), (GROUP, &based(index - 1, 1))];
    wal.append(&writes)?;
    wal.maintenance().map(drop)
}

#[test]
fn full_disk_refuses_before_it_writes_and_recovers_by_itself() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    wal.maintenance().expect("upkeep");
    disk.set_room(Some(disk.used()));
    let mut writes: Vec<Write> = Vec::new();
    let mut warned = false;
    let refused = loop {
        let next = write(writes.len() as u64 + 1, 1, 1);
        match wal.append(&[(GROUP, &next)]) {
            Ok(appended) => {
                warned |= appended.low_space;
                writes.push(next);
            }
            Err(error) => break error,
        }
        wal.maintenance()
            .expect("a full disk is no failure of upkeep");
    };
    assert!(matches!(refused, AppendError::NoSpace { .. }), "{refused}");
    assert!(warned, "the warning comes before the refusal");
    assert!(wal.maintenance().expect("upkeep").low_space);
    let next = write(writes.len() as u64 + 1, 1, 1);
    wal.append(&[(GROUP, &next)]).expect_err("still full");
    let image = disk.after_power_cut();
    let (_, recovered) = open(&image).expect("opens");
    assert_eq!(recovered.groups[&GROUP], model(&writes));
    disk.set_room(None);
    assert!(!wal.maintenance().expect("upkeep").low_space);
    wal.append(&[(GROUP, &next)]).expect("appends again");
    writes.push(next);
    drop(wal);
    let (_, recovered) = open(&disk.after_power_cut()).expect("opens");
    assert_eq!(recovered.groups[&GROUP], model(&writes));
}

#[test]
fn votes_of_a_silent_group_survive_the_dropping_of_the_head() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    let vote = Write {
        hard_state: HardState {
            term: 42,
            vote: Some(ReplicaId(3)),
            committed: 0,
        },
        ..write(1, 0, 1)
    };
    wal.append(&[(99, &vote)]).expect("appends");
    let first = disk
        .paths()
        .into_iter()
        .find(|path| path.ends_with("0000000000000001.log"));
    for index in 1..60 {
        wal.append(&[(GROUP, &write(index, 1, 1))])
            .expect("appends");
        wal.append(&[(GROUP, &based(index, 1))]).expect("appends");
        wal.maintenance().expect("upkeep");
    }
    drop(wal);
    assert!(
        !disk.paths().contains(&first.expect("was there")),
        "the head was dropped"
    );
    let logs = disk
        .paths()
        .into_iter()
        .filter(|path| path.extension() == Some("log".as_ref()));
    assert!(logs.count() <= 3, "no more is kept than needed");
    let (_, recovered) = open(&disk.after_power_cut()).expect("opens");
    assert_eq!(recovered.groups[&99].hard_state, vote.hard_state);
    assert_eq!(recovered.groups[&GROUP].base.position.index, 59);
}

#[test]
fn only_one_has_the_directory_at_a_time() {
    let disk = Arc::new(TestDisk::default());
    let (wal, _) = open(&disk).expect("opens");
    let reader = wal.reader();
    let error = open(&disk).map(|_| ()).expect_err("is locked");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(wal);
    open(&disk).expect("a reader does not hold the lock");
    assert_eq!(reader.read(GROUP, 1, 9, 9).expect("reads").len(), 0);
}

#[test]
fn others_are_refused_and_told_why() {
    let disk = Arc::new(TestDisk::default());
    open(&disk).expect("opens");
    let refused = |founding: &Founding| {
        let opened = Wal::open(disk.clone(), Path::new(DIR), small(), founding);
        opened.map(|_| ()).expect_err("is refused")
    };
    let mut other = founding();
    other.cluster = 1;
    let error = refused(&other);
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
    other = founding();
    other.replica = ReplicaId(1);
    let error = refused(&other);
    assert!(matches!(error, OpenError::OtherReplica { .. }), "{error}");
    other = founding();
    other.founders.push(Member::voter(3, "c:3"));
    let error = refused(&other);
    assert!(error.to_string().contains("1=a:1,2=b:2,3=c:3"), "{error}");
    other.founders.clear();
    Wal::open(disk.clone(), Path::new(DIR), small(), &other).expect("no founders contradict none");
}

#[test]
fn an_entry_that_rotted_before_it_was_written_is_refused() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    let mut bad = write(1, 2, 1);
    Arc::make_mut(&mut bad.entries)[1].checksum ^= 1;
    let error = wal.append(&[(GROUP, &bad)]).expect_err("is refused");
    assert!(
        matches!(error, AppendError::BadEntry { index: 2, .. }),
        "{error}"
    );
    wal.append(&[(GROUP, &write(1, 2, 1))]).expect("goes on");
}

#[test]
fn p48_reading_respects_the_bounds_and_sees_rot() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    let writes = [write(1, 4, 1), write(5, 4, 1), write(3, 5, 2), based(2, 1)];
    for write in &writes {
        wal.append(&[(GROUP, write)]).expect("appends");
    }
    let reader = wal.reader();
    let expected = model(&writes).tail;
    assert_eq!(reader.read(GROUP, 3, 7, 10_000).expect("reads"), expected);
    assert_eq!(
        reader.read(GROUP, 5, 6, 10_000).expect("reads"),
        expected[2..4]
    );
    assert_eq!(
        reader.read(GROUP, 4, 7, 1).expect("reads"),
        expected[1..2],
        "one at least"
    );
    let two = 2 * expected[0].bytes();
    assert_eq!(
        reader.read(GROUP, 4, 7, two).expect("reads"),
        expected[1..3]
    );
    assert_eq!(reader.read(GROUP, 8, 9, 1).expect("reads"), []);
    assert_eq!(reader.read(1, 8, 9, 1).expect("reads"), []);
    let error = reader.read(GROUP, 2, 7, 1).expect_err("is compacted");
    assert!(
        matches!(error, ReadError::Compacted { base: 2, .. }),
        "{error}"
    );
    for path in disk.paths() {
        if path.extension() == Some("log".as_ref()) {
            let rotten = disk.bytes(&path).iter().map(|byte| byte ^ 1).collect();
            disk.set_bytes(&path, rotten);
        }
    }
    let error = reader.read(GROUP, 3, 7, 10_000).expect_err("is damaged");
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
}

/// Each of the two alone is told from an unfinished write by what follows it; together they must be as well.
#[test]
fn a_segment_whose_first_batch_rotted_is_damage_also_if_the_next_one_lost_its_header() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    for index in 1..60 {
        wal.maintenance().expect("upkeep");
        wal.append(&[(GROUP, &write(index, 1, 1))])
            .expect("appends");
    }
    drop(wal);
    let segments: Vec<_> = disk
        .paths()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    for pair in segments.windows(2) {
        let image = disk.after_kill();
        for (path, offset) in [(&pair[0], 70), (&pair[1], 20)] {
            let mut rotten = image.bytes(path);
            rotten[offset] ^= 1;
            image.set_bytes(path, rotten);
        }
        let opened = open(&image).map(|(_, recovered)| recovered.groups[&GROUP].clone());
        match opened {
            Err(OpenError::Damaged(_)) => {}
            // The last one may be prepared only.
            Ok(_) if pair[1] == segments[segments.len() - 1] => {}
            other => panic!("{pair:?}: {other:?}"),
        }
    }
}

#[test]
fn an_append_larger_than_a_segment_gets_one_of_its_size() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    wal.maintenance().expect("upkeep");
    let mut large = write(1, 1, 1);
    large.entries = [entry(1, 1, &[5; 100_000])].into();
    let writes = [large, write(2, 1, 1)];
    for write in &writes {
        wal.append(&[(GROUP, write)]).expect("appends");
    }
    drop(wal);
    let (_, recovered) = open(&disk.after_power_cut()).expect("opens");
    assert_eq!(recovered.groups[&GROUP], model(&writes));
}

/// The bytes are shared, so that this needs no gigabyte.
#[test]
fn an_append_beyond_the_bound_is_refused_and_writes_nothing() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    let payload = vec![5; 32 << 20];
    let first = entry(1, 1, &payload);
    let entries = (1..=32).map(|index| Entry {
        position: Position::new(index, 1),
        ..first.clone()
    });
    let large = Write {
        entries: entries.collect(),
        ..write(1, 0, 1)
    };
    disk.take_ops();
    let error = wal.append(&[(GROUP, &large)]).expect_err("is refused");
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    assert_eq!(disk.take_ops(), []);
    wal.append(&[(GROUP, &write(1, 2, 1))]).expect("goes on");
}
