//! A group that begins with a state from elsewhere: on real disks, over real sockets.
#![allow(missing_docs)]

mod common;

use std::path::PathBuf;

use common::durable::{Counter, Disk};
use common::{Bound, Dir, members, outcome, timing};
use little_raft::{
    MemberChange, Position, ProposeError, ProposeOptions, RecoverError, Replica, Restoration,
    StateMachine, inspect_group, restore_group,
};

const TOKEN: &str = "ours";
const STATE: u64 = 1_000;

fn dir(of: &Dir, id: u64) -> PathBuf {
    of.0.join(id.to_string())
}

fn restoration(id: u64, members: &[(u64, String)], state: &str) -> Restoration {
    let restoration = Restoration::new(id, members.to_vec(), state);
    restoration.cluster_token(TOKEN).first_command("+1")
}

/// A disk with a counter that was copied, and the directory of the replica that it goes on under.
fn restore(id: u64, members: &[(u64, String)], state: &str, at: &Dir) -> (Disk, u64) {
    let restoration = restoration(id, members, state);
    let cluster = restore_group(dir(at, id), &restoration).expect("it is restored");
    let disk = Disk::default();
    let mut counter = Counter::open(&disk);
    counter.count = STATE;
    let (position, library) = restoration.machine_at();
    counter.commit(position, &library).expect("it is stored");
    (disk, cluster)
}

fn start(id: u64, members: &[(u64, String)], at: &Dir, disk: &Disk) -> Replica<Counter> {
    let builder = Replica::builder(id).members(members.to_vec());
    let builder = builder.cluster_token(TOKEN).data_dir(dir(at, id));
    let machine = Counter::open(disk);
    builder.timing(timing()).start(machine).expect("it starts")
}

fn count(replica: &Replica<Counter>) -> u64 {
    outcome(replica.read(|counter| counter.count)).expect("it is read")
}

#[test]
fn p59_a_restored_group_begins_with_the_state_and_so_does_who_joins() {
    let _bound = Bound::new();
    let at = Dir::new("restore");
    let everybody = members(4);
    let three = &everybody[..3];
    let restored = [1, 2, 3].map(|id| restore(id, three, "backup", &at));
    assert!(
        restored
            .iter()
            .all(|(_, cluster)| *cluster == restored[0].1)
    );
    let survivor = inspect_group(dir(&at, 1)).expect("it is looked at");
    assert_eq!(survivor.last, Position::new(2, 1));
    assert!(!survivor.is_unfinished);

    // Two are a majority; the third comes later and finds all.
    let start = |id: u64| start(id, three, &at, &restored[id as usize - 1].0);
    let mut group = vec![start(1), start(2)];
    assert_eq!(
        outcome(group[0].propose("+1")),
        Ok(STATE + 2),
        "the first command, and this"
    );
    group.push(start(3));
    assert!(group.iter().all(|it| count(it) == STATE + 2));
    assert_eq!(group[2].cluster_id(), restored[0].1);

    // A log that begins with it can't tell a newcomer what was before.
    let builder = Replica::<Counter>::builder(4).join(everybody.clone());
    let builder = builder.data_dir(dir(&at, 4)).timing(timing());
    let disk = Disk::default();
    let fourth = builder.start(Counter::open(&disk)).expect("it starts");
    let change = MemberChange::new().add(4, everybody[3].1.clone());
    outcome(group[0].change_members(change)).expect("it joins");
    assert_eq!(count(&fourth), STATE + 2);

    // Again, from what they stored.
    drop((group, fourth));
    let group = [1, 2, 3].map(start);
    assert_eq!(outcome(group[1].propose("+1")), Ok(STATE + 3));
}

#[test]
fn p59_members_that_were_not_restored_from_the_same_are_refused() {
    let _bound = Bound::new();
    let at = Dir::new("restore-others");
    let everybody = members(3);
    let builder = Replica::builder(1).members(everybody.clone());
    let builder = builder.cluster_token(TOKEN).data_dir(dir(&at, 1));
    let old = builder.timing(timing());
    let old = old.start(Counter::open(&Disk::default())).expect("starts");
    let (second, cluster) = restore(2, &everybody, "backup", &at);
    let (third, other) = restore(3, &everybody, "another backup", &at);
    let named = [old.cluster_id(), cluster, other];
    assert!(named[0] != cluster && cluster != other && other != named[0]);
    let second = start(2, &everybody, &at, &second);
    let third = start(3, &everybody, &at, &third);
    let group = [&old, &second, &third];
    // They agree about who the three are, and yet nobody is elected.
    let patience = ProposeOptions {
        within: Some(10 * timing().election),
        ..ProposeOptions::default()
    };
    let waiting = group.map(|it| it.propose_with("+1", patience));
    for ended in waiting.map(outcome) {
        assert_eq!(ended, Err(ProposeError::NoLeader));
    }
    assert!(group.iter().all(|it| it.status().leader.is_none()));
}

#[test]
fn what_is_there_already_is_not_restored_over() {
    let _bound = Bound::new();
    let at = Dir::new("restore-over");
    let everybody = members(3);
    restore(1, &everybody, "backup", &at);
    let again = restore_group(dir(&at, 1), &restoration(1, &everybody, "backup"));
    let error = again.expect_err("it is there");
    assert!(matches!(error, RecoverError::Exists { .. }), "{error}");
    let stranger = restore_group(dir(&at, 9), &restoration(9, &everybody, "backup"));
    let error = stranger.expect_err("it is no member");
    assert!(matches!(error, RecoverError::NotAMember { .. }), "{error}");
    assert!(!dir(&at, 9).exists());
}
