//! The log on the machine's own disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use little_raft_core::{HardState, ReplicaId, Write};
use little_raft_wal::{Founding, OpenError, Options, RealDisk, Wal};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("little-raft-wal-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _nothing_depends_on_it = fs::remove_dir_all(&self.0);
    }
}

fn founding() -> Founding {
    Founding {
        cluster: 1,
        replica: ReplicaId(1),
        founders: Vec::new(),
        incarnation: 5,
    }
}

fn open(dir: &Path) -> Result<(Wal, little_raft_wal::Recovered), OpenError> {
    Wal::open(Arc::new(RealDisk), dir, Options::default(), &founding())
}

fn vote(term: u64) -> Write {
    Write {
        number: term,
        hard_state: HardState {
            term,
            vote: Some(ReplicaId(1)),
            committed: 0,
        },
        base: None,
        entries: [].into(),
    }
}

#[test]
fn remembers_across_starts_and_locks_out_others() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("deep").join("down");
    let (mut wal, recovered) = open(&dir).expect("opens");
    assert_eq!(recovered.identity.boot, 1);
    wal.append(&[(3, &vote(8))]).expect("appends");
    wal.maintenance().expect("upkeep");
    let error = open(&dir).map(|_| ()).expect_err("is locked");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(wal);
    let (_wal, recovered) = open(&dir).expect("opens");
    assert_eq!(recovered.identity.boot, 2);
    assert_eq!(recovered.groups[&3].hard_state, vote(8).hard_state);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let scratch = Scratch::new();
    fs::write(&scratch.0, "a file").expect("writes");
    let error = open(&scratch.0).map(|_| ()).expect_err("is no directory");
    let named = error.to_string().contains(&*scratch.0.to_string_lossy());
    fs::remove_file(&scratch.0).expect("removes");
    assert!(named, "{error}");
}

const APPENDS: usize = 100;

#[test]
fn a_hundred_appends() {
    let scratch = Scratch::new();
    let (mut wal, _) = open(&scratch.0).expect("opens");
    for term in 1..=APPENDS as u64 {
        wal.append(&[(3, &vote(term))]).expect("appends");
    }
    drop(wal);
    let (_wal, recovered) = open(&scratch.0).expect("opens");
    assert_eq!(recovered.groups[&3].hard_state.term, APPENDS as u64);
}

/// The operating system as witness: each append is one positional write and one `fdatasync`, in this order.
#[test]
fn the_system_sees_one_write_and_one_flush_an_append() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("strace is not installed: what the system sees is NOT checked here");
        return;
    }
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).expect("makes");
    let trace = scratch.0.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=pwrite64,write,fdatasync,fsync"])
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "a_hundred_appends"])
        .output()
        .expect("strace starts");
    assert!(output.status.success(), "{output:?}");
    let trace = fs::read_to_string(&trace).expect("reads");
    let calls: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains(".log>"))
        .collect();
    let calls = calls.iter().map(|line| {
        let name = ["pwrite64(", "fdatasync("]
            .iter()
            .find(|name| line.contains(**name));
        *name.unwrap_or_else(|| panic!("unexpected: {line}"))
    });
    // When it is made, the first segment is filled and its header written; each start writes the newest batch again.
    let pairs = 2 + 1 + APPENDS + 1;
    let expected = ["pwrite64(", "fdatasync("]
        .into_iter()
        .cycle()
        .take(2 * pairs);
    assert_eq!(calls.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}
