//! Groups on real disks and sockets.
#![allow(missing_docs)]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use common::{Journal, outcome, timing, until};
use little_raft::{Builder, Replica, StartError, State};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("little-raft-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports that were free a moment ago.
fn members(count: u64) -> Vec<(u64, String)> {
    let sockets: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    let addresses = sockets
        .iter()
        .map(|s| s.local_addr().expect("bound").to_string());
    (1..).zip(addresses).collect()
}

fn builder(id: u64, members: &[(u64, String)], dir: &Path) -> Builder {
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

#[test]
fn a_directory_in_use_and_a_port_in_use_are_refused_with_a_reason() {
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
