//! A group that has lost its majority for good goes on from its survivor: on real disks, over real sockets.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::durable::{Counter, Disk};
use common::{Bound, Dir, Journal, members, outcome, timing, until};
use little_raft::core::Codec;
use little_raft::{
    Base, Bytes, MemberChange, Message, Position, RecoverError, Recovery, Replica, ReplicaId, Role,
    State, StateMachine, inspect_group, recover_group,
};
use little_raft_net::{Handler, Hello, Options, Refusal, Tcp};

type Members = [(u64, String)];

fn dir(of: &Dir, id: u64) -> PathBuf {
    of.0.join(id.to_string())
}

fn found<M: StateMachine>(id: u64, members: &Members, at: &Dir, machine: M) -> Replica<M> {
    let builder = Replica::builder(id).members(members.to_vec());
    let builder = builder.data_dir(dir(at, id)).snapshot_entries(20);
    builder.timing(timing()).start(machine).expect("it starts")
}

fn journal(id: u64, members: &Members, at: &Dir) -> Replica<Journal> {
    found(id, members, at, Journal::default())
}

fn commands(replica: &Replica<Journal>) -> Vec<String> {
    outcome(replica.read(|journal| journal.commands.clone())).expect("it is read")
}

fn voters<M: StateMachine>(replica: &Replica<M>) -> Vec<u64> {
    let status = replica.status();
    let voters = status.members.iter();
    let voters = voters.filter(|member| member.role == Some(Role::Voter));
    voters.map(|member| member.id.0).collect()
}

fn leads<M: StateMachine>(replica: &Replica<M>) {
    until("it leads", || {
        (replica.status().state == State::Leader).then_some(())
    });
}

fn accept() -> Recovery {
    Recovery::accept_data_loss()
}

#[derive(Default)]
struct Refusals(Mutex<Vec<String>>);

impl Handler for Refusals {
    fn deliver(&self, message: Message) {
        panic!("a stranger is sent nothing, not {message:?}");
    }
    fn unreachable(&self, _: ReplicaId) {}
    fn refused(&self, refusal: Refusal) {
        let mut refusals = self.0.lock().expect("no panic");
        refusals.push(refusal.to_string());
    }
}

/// What replica 2 is told at `survivor` when it comes back as it was.
fn told_to_old_member(cluster: u64, survivor: &str) -> String {
    let hello = Hello {
        cluster,
        replica: ReplicaId(2),
        incarnation: 77,
        boot: 9,
    };
    let refusals = Arc::new(Refusals::default());
    let peers = BTreeMap::from([(ReplicaId(1), survivor.to_owned())]);
    let listener = Tcp::bind("127.0.0.1:0", Options::default()).expect("a port is free");
    let tcp = listener.start(hello, peers, refusals.clone());
    let tcp = tcp.expect("it starts");
    let said = until("it is refused", || {
        refusals.0.lock().expect("no panic").first().cloned()
    });
    tcp.stop();
    said
}

/// The whole story: two of three are lost, the third goes on alone, those that come back after all change nothing, and
/// a new one joins.
#[test]
fn p59_the_survivor_goes_on_alone_and_old_members_are_strangers() {
    let _bound = Bound::new();
    let at = Dir::new("recover");
    let everybody = members(4);
    let old = &everybody[..3];
    let group: Vec<_> = (1..=3).map(|id| journal(id, old, &at)).collect();
    let mut acknowledged = Vec::new();
    for number in 0..70 {
        acknowledged.push(format!("command {number}"));
        let command = acknowledged[number].clone();
        outcome(group[0].propose(command)).expect("it is acknowledged");
    }
    let old_cluster = group[0].cluster_id();
    until("the survivor has it all", || {
        (commands(&group[0]).len() == 70).then_some(())
    });
    drop(group);

    // What it remembers is shown as often as one likes, and nothing is changed by looking.
    let survivor = inspect_group(dir(&at, 1)).expect("it is looked at");
    assert_eq!(inspect_group(dir(&at, 1)).expect("again"), survivor);
    assert_eq!(survivor.replica, ReplicaId(1));
    assert_eq!(survivor.cluster, old_cluster);
    assert_eq!(survivor.membership.voters().count(), 3);
    assert!(survivor.snapshot.is_some(), "there were enough commands");
    assert!(survivor.last.index > 70 && survivor.committed <= survivor.last.index);

    let recovery = accept().first_command("a new age");
    let recovered = recover_group(dir(&at, 1), &recovery).expect("it is recovered");
    acknowledged.push("a new age".into());
    assert_eq!(recovered.survivor, survivor);
    assert_eq!(recovered.member.id, ReplicaId(1));
    assert_ne!(recovered.cluster, old_cluster);
    // Repeated, it changes nothing more.
    let again = recover_group(dir(&at, 1), &recovery).expect("it was recovered");
    assert_eq!(again.cluster, recovered.cluster);

    // It starts as it was always started, and leads alone.
    let first = journal(1, old, &at);
    leads(&first);
    assert_eq!(first.cluster_id(), recovered.cluster);
    assert_eq!(commands(&first), acknowledged);
    assert_eq!(voters(&first), [1]);
    assert!(first.status().term > survivor.term);
    outcome(first.propose("alone")).expect("it is acknowledged");
    acknowledged.push("alone".into());

    // The old members come back, and are even a majority of what was. Each side goes on by itself.
    let term = first.status().term;
    let back = [journal(2, old, &at), journal(3, old, &at)];
    outcome(back[0].propose("of the old group")).expect("they are a majority of it");
    let said = told_to_old_member(old_cluster, &old[0].1);
    let expected = format!(
        "it refused us: it belongs to cluster {old_cluster:016x}, this replica to {:016x}",
        recovered.cluster
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(commands(&first), acknowledged);
    assert_eq!(commands(&back[1]).len(), 71, "nothing of the new group");
    assert_eq!((first.status().term, voters(&first)), (term, vec![1]));
    assert_eq!(first.stopped(), None);
    drop(back);

    // A new member, and an old one whose directory was emptied, join it as any other group.
    let mut known = vec![old[0].clone(), everybody[3].clone()];
    let mut joined = Vec::new();
    for id in [4, 2] {
        if id == 2 {
            fs::remove_dir_all(dir(&at, 2)).expect("it is there");
            known.push(old[1].clone());
        }
        let builder = Replica::<Journal>::builder(id).join(known.clone());
        let builder = builder.data_dir(dir(&at, id)).timing(timing());
        joined.push(builder.start(Journal::default()).expect("it starts"));
        let address = everybody[id as usize - 1].1.clone();
        let change = MemberChange::new().add(id, address);
        outcome(first.change_members(change)).expect("it joins");
    }
    outcome(joined[0].propose("together")).expect("it is acknowledged");
    acknowledged.push("together".into());
    for replica in &joined {
        assert_eq!(commands(replica), acknowledged);
    }
    drop((first, joined));

    // Stopped and started with the same settings, it remembers.
    let first = journal(1, old, &at);
    let builder = Replica::<Journal>::builder(4).join(known);
    let builder = builder.data_dir(dir(&at, 4)).timing(timing());
    let fourth = builder.start(Journal::default()).expect("it starts");
    assert_eq!(commands(&fourth), acknowledged);
    assert_eq!(voters(&first), [1, 2, 4]);
}

/// Nobody can know any more whether the lost ones had it: it counts, and the report has said so.
#[test]
fn what_was_not_committed_yet_counts() {
    let _bound = Bound::new();
    let at = Dir::new("recover-uncommitted");
    let everybody = members(3);
    let mut group: Vec<_> = (1..=3).map(|id| journal(id, &everybody, &at)).collect();
    outcome(group[0].propose("sure")).expect("it is acknowledged");
    let leader = until("a leader", || {
        let is_leader = |it: &Replica<Journal>| it.status().state == State::Leader;
        group.iter().position(is_leader)
    });
    let leader = group.swap_remove(leader);
    drop(group);
    let before = leader.status().last;
    let pending = leader.propose("perhaps");
    until("it is on disk", || {
        (leader.status().durable > before).then_some(())
    });
    let id = leader.id().0;
    drop((leader, pending));

    let survivor = inspect_group(dir(&at, id)).expect("it is looked at");
    assert!(survivor.last.index > survivor.committed, "{survivor:?}");
    recover_group(dir(&at, id), &accept()).expect("it is recovered");
    let alone = journal(id, &everybody, &at);
    assert_eq!(commands(&alone), ["sure", "perhaps"]);
}

/// A crash can fall between a received snapshot's becoming durable and the log's beginning after it.
#[test]
fn a_received_snapshot_that_the_log_does_not_reach_is_where_it_goes_on() {
    let _bound = Bound::new();
    let at = Dir::new("recover-ahead");
    let everybody = members(3);
    let mut group: Vec<_> = (1..=3).map(|id| journal(id, &everybody, &at)).collect();
    outcome(group[0].propose("early")).expect("it is acknowledged");
    until("the third has it", || {
        (commands(&group[2]).len() == 1).then_some(())
    });
    drop(group.pop());
    for number in 0..70 {
        outcome(group[0].propose(format!("late {number}"))).expect("it is acknowledged");
    }
    drop(group);
    let newer = inspect_group(dir(&at, 1))
        .expect("it is looked at")
        .snapshot;
    let newer = newer.expect("there were enough commands");
    let log = inspect_group(dir(&at, 3)).expect("it is looked at").last;
    assert!(log.index < newer.index);
    let name = format!(
        "snapshots/0/{:016x}-{:016x}.snapshot",
        newer.index, newer.term
    );
    let received = dir(&at, 3).join(&name);
    fs::copy(dir(&at, 1).join(&name), &received).expect("it is there");

    // Damaged, it says that there was more than there is.
    let sound = fs::read(&received).expect("it is there");
    fs::write(&received, &sound[..sound.len() - 1]).expect("it is written");
    let error = inspect_group(dir(&at, 3)).expect_err("it is refused");
    assert!(matches!(error, RecoverError::Damaged(_)), "{error}");
    fs::write(&received, sound).expect("it is written");

    let recovered = recover_group(dir(&at, 3), &accept()).expect("it is recovered");
    assert_eq!(recovered.survivor.last, newer);
    assert_eq!(recovered.survivor.committed, newer.index);
    let third = journal(3, &everybody, &at);
    leads(&third);
    assert_eq!(voters(&third), [3]);
    let there = commands(&third);
    assert_eq!(there[..2], ["early", "late 0"]);
    assert!(there.len() as u64 <= newer.index);
    outcome(third.propose("on")).expect("it is acknowledged");
    drop(third);
    let third = journal(3, &everybody, &at);
    assert_eq!(commands(&third), [&there[..], &["on".to_owned()]].concat());
}

#[test]
fn a_durable_machine_goes_on_where_it_was_and_hears_of_its_new_group() {
    let _bound = Bound::new();
    let at = Dir::new("recover-durable");
    let everybody = members(3);
    let disks = [(); 3].map(|()| Disk::default());
    let start = |id: u64| {
        let machine = Counter::open(&disks[id as usize - 1]);
        found(id, &everybody, &at, machine)
    };
    let group: Vec<_> = (1..=3).map(start).collect();
    for total in 1..=70 {
        assert_eq!(outcome(group[2].propose("+1")), Ok(total));
    }
    drop(group);
    let (count, position, _) = disks[2].at();
    assert!(count > 0 && position.index > 0);

    // One that the log can't go on from is refused, before anything is changed.
    let survivor = inspect_group(dir(&at, 3)).expect("it is looked at");
    let beyond = Position::new(survivor.last.index + 5, survivor.last.term);
    let error = recover_group(dir(&at, 3), &accept().machine_at(beyond));
    let error = error.expect_err("it is refused").to_string();
    let said = format!("the state machine is at {beyond}, from where this replica's log");
    assert!(error.contains(&said), "{error}");
    assert_eq!(inspect_group(dir(&at, 3)).expect("again"), survivor);

    let recovery = accept().machine_at(position).first_command("+1");
    for _ in 0..2 {
        recover_group(dir(&at, 3), &recovery).expect("it is recovered, once");
    }
    let third = start(3);
    leads(&third);
    assert_eq!(outcome(third.propose("+1")), Ok(72), "nothing twice");
    drop(third);
    let (count, _, library) = disks[2].at();
    assert_eq!(count, 72);
    let base = Base::decode(&mut Bytes::clone(&library.0)).expect("it begins with one");
    let ids: Vec<ReplicaId> = base.membership.voters().collect();
    assert_eq!(ids, [ReplicaId(3)]);
}

fn refusal(at: &Path) -> String {
    let looked = inspect_group(at).map(drop);
    let error = recover_group(at, &accept()).expect_err("it is refused");
    let said = error.to_string();
    match &looked {
        // Only the recovery minds.
        Ok(()) => assert!(matches!(
            error,
            RecoverError::Alone { .. } | RecoverError::NotAMember { .. }
        )),
        Err(error) => assert_eq!(error.to_string(), said),
    }
    said
}

#[test]
fn what_cant_be_recovered_is_named_with_the_reason() {
    let _bound = Bound::new();
    let at = Dir::new("recover-refused");
    let everybody = members(3);
    let nothing = refusal(&dir(&at, 9));
    assert!(nothing.contains("9 holds no replica"), "{nothing}");
    assert!(!dir(&at, 9).exists(), "looking makes nothing");

    let alone = journal(1, &everybody[..1], &at);
    outcome(alone.propose("x")).expect("it is acknowledged");
    let running = refusal(&dir(&at, 1));
    assert!(running.contains("1 is in use by another"), "{running}");
    drop(alone);
    let said = refusal(&dir(&at, 1));
    assert!(said.contains("is the only voter of its group"), "{said}");

    let builder = Replica::<Journal>::builder(2).join(everybody[..2].to_vec());
    let builder = builder.data_dir(dir(&at, 2)).cluster_id(77);
    drop(builder.start(Journal::default()).expect("it starts"));
    let said = refusal(&dir(&at, 2));
    assert!(said.contains("is no member of its group"), "{said}");

    let three = journal(3, &everybody, &at);
    drop(three);
    let manifest = dir(&at, 3).join("manifest");
    fs::write(&manifest, "rotten").expect("it is written");
    let said = refusal(&dir(&at, 3));
    assert!(said.contains(" is damaged at byte "), "{said}");
}
