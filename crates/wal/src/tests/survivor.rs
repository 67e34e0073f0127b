//! The last replica of a group becomes a cluster of its own: a crash at any step leaves the old one, or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use little_raft_core::{
    Codec, Entry, EntryKind, HardState, Member, Membership, Position, ReplicaId, Restored, Write,
};

use super::disk::TestDisk;
use super::harness::*;
use crate::plan::{Former, Plan};
use crate::{Founding, OpenError, Recovered, Rewrite, Survivor, Wal};

const NEW: u64 = 0xc2;

fn history() -> Vec<Write> {
    vec![write(1, 3, 1), write(4, 6, 2), based(5, 2), write(10, 3, 4)]
}

/// As if replica 2 had been elected in term 9, alone, and had appended this and a command.
fn alone() -> Write {
    let payload = Membership::founders([Member::voter(2, "b:2")]).to_bytes();
    let entry = Entry {
        position: Position::new(13, 9),
        kind: EntryKind::Membership,
        time: 99_000,
        checksum: crc32c::crc32c(&payload),
        payload,
    };
    Write {
        number: 0,
        hard_state: HardState {
            term: 9,
            vote: Some(ReplicaId(2)),
            committed: 14,
        },
        base: None,
        entries: [&[entry], &write(14, 1, 9).entries[..]].concat().into(),
    }
}

fn rewrite() -> Rewrite {
    Rewrite {
        cluster: NEW,
        founders: vec![Member::voter(2, "b:2")],
        writes: vec![(GROUP, alone())],
    }
}

fn before() -> Restored {
    model(&history())
}

fn after() -> Restored {
    model(&[&history()[..], &[alone()]].concat())
}

fn written() -> Arc<TestDisk> {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, _) = open(&disk).expect("opens");
    for write in &history() {
        wal.append(&[(GROUP, write)]).expect("appends");
        wal.maintenance().expect("upkeep");
    }
    drop(wal);
    disk.after_power_cut()
}

fn read(disk: &Arc<TestDisk>) -> Result<Option<Survivor>, OpenError> {
    Survivor::read(disk.clone(), Path::new(DIR), small())
}

fn survivor(disk: &Arc<TestDisk>) -> Survivor {
    let found = read(disk).expect("it can be read");
    found.expect("there is a replica")
}

/// What the command does: whatever a crash has left is finished, else it begins.
fn recover(disk: &Arc<TestDisk>) -> Result<(), OpenError> {
    match survivor(disk) {
        unfinished if unfinished.is_unfinished() => unfinished.finish(),
        done if done.is_recovered() => Ok(()),
        other => other.rewrite(rewrite()),
    }
}

fn group(recovered: &Recovered) -> Restored {
    recovered.groups[&GROUP].clone()
}

fn check_recovered(disk: &Arc<TestDisk>, at: &str) {
    let (mut wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(recovered.identity.cluster, NEW, "{at}");
    assert_eq!(recovered.identity.incarnation, founding().incarnation);
    assert_eq!(group(&recovered), after(), "{at}");
    // It goes on, and nothing of it is done twice.
    wal.append(&[(GROUP, &write(15, 2, 10))]).expect("appends");
    drop(wal);
    let (_wal, recovered) = open(&disk.after_power_cut()).expect("opens again");
    let all = [&history()[..], &[alone(), write(15, 2, 10)]].concat();
    assert_eq!(group(&recovered), model(&all), "{at}");
}

/// The old cluster with its old log, or the new one with its new; and the command, given again, completes it.
fn check_whole(disk: &Arc<TestDisk>, at: &str) {
    let image = disk.after_power_cut();
    let (_wal, recovered) = open(&image).unwrap_or_else(|error| panic!("{at}: {error}"));
    let found = (recovered.identity.cluster, group(&recovered));
    let is_old = found == (founding().cluster, before());
    assert!(is_old || found == (NEW, after()), "{at}: {found:?}");
    let again = disk.after_power_cut();
    recover(&again).unwrap_or_else(|error| panic!("{at}: {error}"));
    check_recovered(&again.after_power_cut(), at);
}

#[test]
fn p59_a_crash_at_every_step_leaves_the_old_cluster_or_the_new_one() {
    let whole = written();
    whole.take_ops();
    recover(&whole).expect("it is recovered");
    let total = whole.take_ops().len();
    assert!(total > 8, "only {total} steps");
    check_recovered(&whole.after_power_cut(), "the end");
    for at in 0..total {
        let disk = written();
        disk.take_ops();
        disk.fail_op(at, io::ErrorKind::Other);
        recover(&disk).expect_err("a step fails");
        for (image, how) in [(disk.after_power_cut(), "cut"), (disk.after_kill(), "kill")] {
            check_whole(&image, &format!("{how} at step {at}"));
        }
        for seed in 0..12 {
            check_whole(&disk.after_tear(seed), &format!("torn {seed} at step {at}"));
        }
    }
}

#[test]
fn p59_a_power_cut_at_every_byte_leaves_the_old_cluster_or_the_new_one() {
    let whole = written();
    let began = whole.written();
    recover(&whole).expect("it is recovered");
    for at in 0..whole.written() - began {
        let disk = written();
        disk.cut_power_after(at);
        recover(&disk).expect_err("the power is gone");
        check_whole(&disk.after_power_cut(), &format!("cut at byte {at}"));
        check_whole(&disk.after_kill(), &format!("kill at byte {at}"));
    }
}

/// A start finishes what a crash has left, and may itself crash anywhere.
#[test]
fn p59_a_start_finishes_a_recovery_that_was_cut_short() {
    let half = written();
    half.take_ops();
    recover(&half).expect("it is recovered");
    let ops = half.take_ops();
    let is_named = |op: &super::disk::Op| matches!(op, super::disk::Op::Rename(_, to) if to.ends_with("recovered"));
    let named = ops.iter().position(is_named).expect("the plan is named");
    let cut_short = || {
        let disk = written();
        disk.take_ops();
        // The plan's name is durable one step later.
        disk.fail_op(named + 2, io::ErrorKind::Other);
        recover(&disk).expect_err("a step fails");
        disk.after_power_cut()
    };
    let unfinished = survivor(&cut_short());
    assert!(unfinished.is_unfinished());
    assert_eq!(unfinished.identity().cluster, NEW);
    assert_eq!(unfinished.groups()[&GROUP], before());
    drop(unfinished);

    let disk = cut_short();
    disk.take_ops();
    drop(open(&disk).expect("it starts"));
    for at in 0..disk.take_ops().len() {
        let disk = cut_short();
        disk.take_ops();
        disk.fail_op(at, io::ErrorKind::Other);
        drop(open(&disk));
        check_recovered(&disk.after_power_cut(), &format!("cut at step {at}"));
    }
}

#[test]
fn looking_changes_nothing_and_a_running_replica_is_left_alone() {
    let disk = written();
    let files = |disk: &TestDisk| -> Vec<(PathBuf, Vec<u8>)> {
        let paths = disk.paths().into_iter();
        paths
            .map(|path| (path.clone(), disk.bytes(&path)))
            .collect()
    };
    let found = files(&disk);
    disk.take_ops();
    let looked_at = survivor(&disk);
    assert_eq!(looked_at.groups()[&GROUP], before());
    assert_eq!(looked_at.identity().cluster, founding().cluster);
    assert!(!looked_at.is_recovered() && !looked_at.is_unfinished());
    assert!(looked_at.snapshots(GROUP).list().expect("none").is_empty());
    let error = open(&disk).map(drop).expect_err("it is looked at");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(looked_at);
    assert_eq!(disk.take_ops(), []);
    assert_eq!(files(&disk), found);

    let (_running, _) = open(&disk).expect("nothing has changed");
    let error = read(&disk).map(drop).expect_err("it runs");
    assert!(error.to_string().contains("in use by another"), "{error}");

    let empty = Arc::new(TestDisk::default());
    assert!(read(&empty).expect("nothing is wrong").is_none());
    assert!(empty.paths().is_empty());
}

/// The settings of before and those of the one that is left are meant for it; all others are somebody else's.
#[test]
fn after_it_the_old_settings_and_the_new_ones_open_it_and_no_others() {
    let disk = written();
    recover(&disk).expect("it is recovered");
    let open_as = |founding: &Founding| Wal::open(disk.clone(), Path::new(DIR), small(), founding);
    let left = Founding {
        cluster: 0xabcd,
        founders: vec![Member::voter(2, "b:2")],
        ..founding()
    };
    let joined = Founding {
        cluster: NEW,
        founders: Vec::new(),
        ..founding()
    };
    for fits in [&founding(), &left, &joined] {
        let (_, recovered) = open_as(fits).expect("it is meant");
        assert_eq!(recovered.identity.cluster, NEW);
        assert_eq!(recovered.identity.founders, left.founders);
    }
    let others = [
        (
            Founding {
                replica: ReplicaId(1),
                ..founding()
            },
            "belongs to cluster",
        ),
        (
            Founding {
                cluster: 0xdd,
                ..founding()
            },
            "belongs to cluster 00000000000000c1, not to 00000000000000dd",
        ),
        (
            Founding {
                founders: vec![Member::voter(2, "b:2"), Member::voter(3, "c:3")],
                ..founding()
            },
            "was founded by 2=b:2 when it was recovered, and by 1=a:1,2=b:2 before, but 2=b:2,3=c:3 was given",
        ),
    ];
    for (other, said) in others {
        let error = open_as(&other).map(drop).expect_err("it is another's");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// Its majority can be lost again: what follows counts, and the settings of the very beginning still open it.
#[test]
fn a_recovered_replica_can_be_recovered_again() {
    let disk = written();
    recover(&disk).expect("it is recovered");
    let (mut wal, _) = open(&disk).expect("opens");
    wal.append(&[(GROUP, &write(15, 3, 10))]).expect("appends");
    drop(wal);
    let mut again = rewrite();
    again.cluster = 0xc3;
    let entries = Arc::make_mut(&mut again.writes[0].1.entries);
    entries[0].position = Position::new(18, 11);
    entries[1].position = Position::new(19, 11);
    again.writes[0].1.hard_state.term = 11;
    let expected = again.writes[0].1.clone();
    survivor(&disk).rewrite(again).expect("it is recovered");
    let (_wal, recovered) = open(&disk.after_power_cut()).expect("opens");
    assert_eq!(recovered.identity.cluster, 0xc3);
    let all = [&history()[..], &[alone(), write(15, 3, 10), expected]].concat();
    assert_eq!(group(&recovered), model(&all));
}

#[test]
fn a_record_of_a_recovery_that_is_damaged_newer_or_anothers_is_refused() {
    let disk = written();
    recover(&disk).expect("it is recovered");
    let path = PathBuf::from(DIR).join("recovered");
    let sound = disk.bytes(&path);
    for at in 0..sound.len() {
        let image = disk.after_kill();
        let mut rotten = sound.clone();
        rotten[at] ^= 0x55;
        image.set_bytes(&path, rotten);
        let error = open(&image).map(drop).expect_err("it is refused");
        assert!(
            matches!(error, OpenError::Damaged(_) | OpenError::NewerFormat { .. }),
            "byte {at}: {error}"
        );
        let error = read(&image).map(drop).expect_err("it is refused");
        let said = error.to_string();
        assert!(said.contains("recovered"), "byte {at}: {said}");
    }
    let mut anothers = sound;
    anothers[24] ^= 1;
    let checksum = crc32c::crc32c(&anothers[16..]);
    anothers[12..16].copy_from_slice(&checksum.to_le_bytes());
    disk.set_bytes(&path, anothers);
    let error = open(&disk).map(drop).expect_err("it is refused");
    assert!(
        error.to_string().contains("another data directory"),
        "{error}"
    );
}

/// As when the newest batch rotted in its window: what is decided can't be carried out, and that is said.
#[test]
fn a_recovery_whose_log_is_gone_is_damage() {
    let recovered = written();
    recover(&recovered).expect("recovers");
    let plan = recovered.bytes(&Path::new(DIR).join("recovered"));
    let disk = Arc::new(TestDisk::default());
    drop(open(&disk).expect("opens"));
    let path = Path::new(DIR).join("recovered");
    drop(crate::Disk::create(&*disk, &path).expect("it can be made"));
    disk.set_bytes(&path, plan);
    let error = open(&disk)
        .map(drop)
        .expect_err("nothing is there to go on from");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("recovered"), "{error}");
}

/// Nothing would say that it was written: each start would write it over what followed.
#[test]
fn p59_a_recovery_that_writes_no_entry_is_damage() {
    let disk = written();
    recover(&disk).expect("it is recovered");
    let identity = survivor(&disk).identity();
    let plan = Plan {
        cluster: NEW,
        founders: Vec::new(),
        former: Former {
            cluster: founding().cluster,
            founders: Vec::new(),
        },
        writes: vec![(
            GROUP,
            Write {
                entries: [].into(),
                ..alone()
            },
        )],
    };
    plan.store(&*disk, Path::new(DIR), &identity)
        .expect("there is room");
    let Err(OpenError::Damaged(damage)) = open(&disk) else {
        panic!("it opened");
    };
    assert!(damage.to_string().contains("without entries"), "{damage}");
}
