//! Groups on real disks and sockets.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::{Bound, Dir, Journal, members, outcome, timing, until};
use little_raft::{Builder, ProposeError, Replica, StartError, State};

fn builder(id: u64, members: &[(u64, String)], dir: &Path) -> Builder<Journal> {
    Replica::<Journal>::builder(id)
        .members(members.to_vec())
        .data_dir(dir.join(id.to_string()))
        .timing(timing())
}

fn start(id: u64, members: &[(u64, String)], dir: &Path) -> Replica<Journal> {
    builder(id, members, dir)
        .start(Journal::default())
        .expect("it starts")
}

fn commands(replica: &Replica<Journal>) -> Vec<String> {
    outcome(replica.read(|journal| journal.commands.clone())).expect("it is read")
}

#[test]
fn three_durable_replicas_agree_and_remember() {
    let _bound = Bound::new();
    let dir = Dir::new("agree");
    let members = members(3);
    let expected: Vec<String> = (0..50).map(|i| format!("command {i}")).collect();
    {
        let group: Vec<_> = (1..=3).map(|id| start(id, &members, &dir.0)).collect();
        for (i, command) in expected.iter().enumerate() {
            let applied = outcome(group[i % 3].propose(command.clone()));
            assert_eq!(applied, Ok(i + 1));
        }
        for replica in &group {
            assert_eq!(commands(replica), expected);
        }
    }
    let group: Vec<_> = (1..=3).map(|id| start(id, &members, &dir.0)).collect();
    for replica in &group {
        assert_eq!(commands(replica), expected);
    }
}

#[test]
fn a_snapshot_and_the_log_after_it_bring_everything_back() {
    let _bound = Bound::new();
    let dir = Dir::new("snapshot");
    let members = members(1);
    let start = || {
        builder(1, &members, &dir.0)
            .snapshot_entries(20)
            .start(Journal::default())
            .expect("it starts")
    };
    let replica = start();
    for i in 0..110 {
        assert_eq!(outcome(replica.propose(format!("{i}"))), Ok(i + 1));
    }
    let snapshots = dir.0.join("1/snapshots/0");
    until("two snapshots", || {
        let files = std::fs::read_dir(&snapshots).ok()?;
        (files.count() == 2).then_some(())
    });
    drop(replica);
    let replica = start();
    let restored = outcome(replica.read(|journal| (journal.commands.len(), journal.restored)));
    assert_eq!(restored, Ok((110, 1)));
}

/// The snapshots of replica 1 in `dir`, oldest first: their names are their positions.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("1/snapshots/0")).expect("it is a directory");
    let files = files.map(|file| file.expect("it can be read").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension() == Some("snapshot".as_ref()))
        .collect();
    files.sort();
    files
}

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_without_any_the_replica_refuses_to_start() {
    let _bound = Bound::new();
    let dir = Dir::new("damaged-snapshot");
    let members = members(1);
    let start = || {
        builder(1, &members, &dir.0)
            .snapshot_entries(20)
            .start(Journal::default())
    };
    let replica = start().expect("it starts");
    let mut count = 0;
    // With the third, the log has been given up behind one before it.
    until("three snapshots", || {
        count += 1;
        assert_eq!(outcome(replica.propose(format!("{count}"))), Ok(count));
        let first = snapshots(&dir.0).first().cloned()?;
        let index = first.file_name()?.to_str()?.split('-').next()?;
        (u64::from_str_radix(index, 16).ok()? > 30).then_some(())
    });
    drop(replica);
    let expected: Vec<String> = (1..=count).map(|number| number.to_string()).collect();

    let newest = snapshots(&dir.0).pop().expect("there are two");
    flip_a_byte(&newest);
    let replica = start().expect("the older one and the log serve");
    assert_eq!(commands(&replica), expected);
    drop(replica);

    let all = snapshots(&dir.0);
    all.iter().for_each(|path| flip_a_byte(path));
    let before: Vec<Vec<u8>> = all
        .iter()
        .map(|path| std::fs::read(path).expect("it is there"))
        .collect();
    for _ in 0..2 {
        let error = start().expect_err("no snapshot is whole");
        assert!(matches!(error, StartError::Damaged(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("a snapshot is missing or damaged"), "{text}");
        let named = all
            .iter()
            .any(|path| text.contains(path.to_str().expect("ASCII")));
        assert!(named, "which file is damaged? {text}");
        assert!(text.contains("add it to the group anew"), "{text}");
    }
    for (path, before) in all.iter().zip(before) {
        let now = std::fs::read(path).expect("nothing is thrown away");
        assert!(now == before, "{} was changed", path.display());
        flip_a_byte(path);
    }
    let replica = start().expect("it is whole again");
    assert_eq!(commands(&replica), expected);
    drop(replica);

    // The one that the log begins after may be gone already: then the others are named.
    let mut all = snapshots(&dir.0);
    let newest = all.pop().expect("there is one");
    all.iter()
        .for_each(|path| std::fs::remove_file(path).expect("it is there"));
    flip_a_byte(&newest);
    let text = start().expect_err("no snapshot is whole").to_string();
    assert!(text.contains(newest.to_str().expect("ASCII")), "{text}");
}

#[test]
fn a_machine_that_panics_stops_its_replica_and_what_was_acknowledged_stays() {
    let _bound = Bound::new();
    let dir = Dir::new("panic");
    let members = members(1);
    let replica = start(1, &members, &dir.0);
    assert_eq!(outcome(replica.propose("one")), Ok(1));
    assert_eq!(outcome(replica.propose("two")), Ok(2));
    let panics = outcome(replica.propose("panic"));
    assert_eq!(panics, Err(ProposeError::Unknown));
    let reason = until("it stops", || replica.stopped());
    assert!(reason.is_failure());
    assert_eq!(reason.to_string(), "a panic: told to");
    drop(replica);
    // The command is in the log: the same machine ends the same way.
    let replica = start(1, &members, &dir.0);
    let reason = until("it stops again", || replica.stopped());
    assert_eq!(reason.to_string(), "a panic: told to");
    drop(replica);
    let mended = Journal {
        mended: true,
        ..Journal::default()
    };
    let replica = builder(1, &members, &dir.0)
        .start(mended)
        .expect("it starts");
    assert_eq!(commands(&replica), ["one", "two", "panic"]);
}

#[test]
fn a_directory_in_use_and_a_port_in_use_are_refused_with_a_reason() {
    let _bound = Bound::new();
    let dir = Dir::new("refused");
    let members = members(1);
    let first = start(1, &members, &dir.0);
    let again = builder(1, &members, &dir.0).start(Journal::default());
    let error = again.expect_err("the directory is locked").to_string();
    assert!(error.contains("in use by another"), "{error}");
    let elsewhere = Dir::new("elsewhere");
    let again = builder(1, &members, &elsewhere.0).start(Journal::default());
    let error = again.expect_err("the port is taken");
    assert!(matches!(error, StartError::Cluster(_)), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    drop(first);
    assert_eq!(outcome(start(1, &members, &dir.0).propose("free")), Ok(1));
}

#[test]
fn the_leader_dies_and_the_others_go_on() {
    let _bound = Bound::new();
    let dir = Dir::new("failover");
    let members = members(3);
    let mut group: Vec<_> = (1..=3)
        .map(|id| Some(start(id, &members, &dir.0)))
        .collect();
    assert_eq!(
        outcome(group[0].as_ref().expect("it runs").propose("a")),
        Ok(1)
    );
    let leader = until("a leader", || {
        group.iter().position(|replica| {
            let replica = replica.as_ref().expect("all run");
            replica.status().state == State::Leader
        })
    });
    group[leader] = None;
    let other = group.iter().flatten().next().expect("two run");
    // What is forwarded to a leader that is dead already ends as unknown: wait for the next one.
    until("another leader", || {
        let leads = other.status().leader?;
        (leads.0 != leader as u64 + 1).then_some(())
    });
    assert_eq!(outcome(other.propose("b")), Ok(2));
    group[leader] = Some(start(leader as u64 + 1, &members, &dir.0));
    let back = group[leader].as_ref().expect("it runs");
    assert_eq!(commands(back), ["a", "b"]);
}
