//! Two full replicas and a witness: on real disks and sockets, and what a witness can't be asked.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use common::{Bound, Dir, Group, Journal, members, outcome, timing, until};
use little_raft::{
    Builder, ChangeError, Founding, LogReader, MemberChange, MembersError, MemoryCluster,
    MemoryStorage, Opened, ProposeError, ReadError, RecoverError, Recovery, Replica, ReplicaId,
    SnapshotFiles, Space, StartError, State, StateMachine, StopReason, Storage, StorageError,
    TransferError, WalStorage, Witness, Write, recover_group,
};

const WITNESS: u64 = 3;

fn described<M: StateMachine>(id: u64, members: &[(u64, String)], dir: &Path) -> Builder<M> {
    let builder = Replica::builder(id).members(members.to_vec());
    let builder = builder.witnesses([WITNESS]).timing(timing());
    builder.data_dir(dir.join(id.to_string()))
}

fn full(id: u64, members: &[(u64, String)], dir: &Path) -> Replica<Journal> {
    let builder = described(id, members, dir);
    builder.start(Journal::default()).expect("it starts")
}

fn witness(members: &[(u64, String)], dir: &Path) -> Replica<Witness> {
    let builder = described(WITNESS, members, dir);
    builder.start(Witness).expect("it starts")
}

fn commands(replica: &Replica<Journal>) -> Vec<String> {
    outcome(replica.read(|journal| journal.commands.clone())).expect("it is read")
}

fn propose(replica: &Replica<Journal>, count: usize) {
    for number in 0..count {
        outcome(replica.propose(format!("command {number}"))).expect("a majority is up");
    }
}

fn leads(replica: &Replica<Journal>) {
    until("it leads", || {
        (replica.status().state == State::Leader).then_some(())
    });
}

fn follows(witness: &Replica<Witness>, leader: u64) {
    until("it follows", || {
        (witness.status().leader == Some(ReplicaId(leader))).then_some(())
    });
}

/// A log on disk that can be looked at while its replica runs.
struct Seen {
    log: WalStorage,
    reader: Arc<OnceLock<Arc<dyn LogReader>>>,
}

impl Storage for Seen {
    fn open(&mut self, founding: &Founding) -> Result<Opened, StorageError> {
        let opened = self.log.open(founding)?;
        let _ = self.reader.set(self.log.reader());
        Ok(opened)
    }
    fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError> {
        self.log.append(writes)
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
    fn snapshots(&self) -> Arc<dyn SnapshotFiles> {
        self.log.snapshots()
    }
}

struct Watched {
    replica: Replica<Witness>,
    reader: Arc<dyn LogReader>,
}

impl Watched {
    fn start(members: &[(u64, String)], dir: &Path) -> Self {
        let reader = Arc::new(OnceLock::new());
        let log = WalStorage::new(dir.join(WITNESS.to_string()));
        let seen = reader.clone();
        let builder = described(WITNESS, members, dir).storage(Seen { log, reader: seen });
        let replica = builder.start(Witness).expect("it starts");
        let reader = reader.get().expect("it was opened").clone();
        Self { replica, reader }
    }

    fn has(&self, index: u64) -> bool {
        self.reader.entries(index, index, 0).is_ok()
    }

    fn drops(&self, index: u64) {
        until("it is dropped", || (!self.has(index)).then_some(()));
    }
}

#[test]
fn two_full_replicas_and_a_witness_outlive_one_of_them() {
    let _bound = Bound::new();
    let dir = Dir::new("witness");
    let members = members(3);
    let (first, second) = (full(1, &members, &dir.0), full(2, &members, &dir.0));
    let witness = Watched::start(&members, &dir.0);
    assert!(witness.replica.status().is_witness() && !first.status().is_witness());
    propose(&first, 50);
    let settled = first.status().committed;
    witness.drops(settled);

    drop(first);
    leads(&second);
    follows(&witness.replica, 2);
    let begin = second.status().last;
    propose(&second, 50);
    // Nothing of what only one full replica has is dropped, also over a restart.
    let kept = |witness: &Watched| (begin + 1..=begin + 50).all(|index| witness.has(index));
    assert!(kept(&witness));
    drop(witness);
    let witness = Watched::start(&members, &dir.0);
    follows(&witness.replica, 2);
    assert!(kept(&witness));

    let first = full(1, &members, &dir.0);
    witness.drops(begin + 50);
    assert_eq!(commands(&first).len(), 100);
    assert_eq!(commands(&first), commands(&second));
}

/// Two full replicas in memory and their witness.
struct Three {
    hub: MemoryCluster,
    full: Vec<Option<Replica<Journal>>>,
    witness: Replica<Witness>,
    _bound: Bound,
}

impl Three {
    fn new() -> Self {
        let hub = MemoryCluster::new();
        let full = [1, 2].map(|id| in_memory(&hub, id).start(Journal::default()));
        let witness = in_memory(&hub, WITNESS).start(Witness);
        Self {
            full: full.map(|it| Some(it.expect("it starts"))).into(),
            witness: witness.expect("it starts"),
            hub,
            _bound: Bound::new(),
        }
    }

    fn at(&self, id: u64) -> &Replica<Journal> {
        self.full[id as usize - 1].as_ref().expect("it runs")
    }

    fn leader(&self) -> u64 {
        until("a leader", || {
            let leader = self.witness.status().leader?.0;
            (self.at(leader).status().state == State::Leader).then_some(leader)
        })
    }
}

fn in_memory<M: StateMachine>(hub: &MemoryCluster, id: u64) -> Builder<M> {
    let builder = Replica::builder(id).members((1..=3).map(|id| (id, "")));
    let builder = builder.witnesses([WITNESS]).timing(timing());
    builder.storage(MemoryStorage::new()).cluster(hub.link(id))
}

/// What the dead leader and the witness have committed, the other full replica learns from the witness.
#[test]
fn a_witness_supplies_what_only_it_has_left() {
    let mut three = Three::new();
    let leader = three.leader();
    let other = 3 - leader;
    propose(three.at(leader), 1);
    three.hub.isolate(other);
    propose(three.at(leader), 5);
    three.full[leader as usize - 1] = None;
    three.hub.heal();
    leads(three.at(other));
    let there = commands(three.at(other));
    assert_eq!(there.len(), 6, "{there:?}");
}

fn joiner<M: StateMachine>(id: u64, group: &Group, machine: M) -> Replica<M> {
    let joiner = Replica::builder(id).join((1..=4).map(|id| (id, "")));
    let joiner = joiner.cluster_id(group.at(1).cluster_id()).timing(timing());
    let joiner = joiner.storage(MemoryStorage::new());
    let joined = joiner.cluster(group.hub.link(id)).start(machine);
    joined.expect("it starts")
}

#[test]
fn a_witness_joins_and_leaves() {
    let group = Group::new(2);
    let witness = joiner(WITNESS, &group, Witness);
    let joins = MemberChange::new().add_witness(WITNESS, "x");
    let joined = outcome(group.at(1).change_members(joins)).expect("it joins");
    assert!(joined.is_voter(ReplicaId(WITNESS)) && !joined.may_lead(ReplicaId(WITNESS)));
    let leader = group.leader();
    group.hub.isolate(3 - leader);
    outcome(group.at(leader).propose("x")).expect("the witness acknowledges");
    group.hub.heal();
    let away = MemberChange::new().remove(WITNESS);
    outcome(group.at(leader).change_members(away)).expect("it leaves");
    until("it stops", || witness.stopped());
}

#[test]
fn what_a_witness_cant_do_is_refused_with_the_reason() {
    let three = Three::new();
    let (leader, witness) = (three.leader(), &three.witness);
    propose(three.at(leader), 1);
    let proposed = outcome(witness.propose("x")).expect_err("it has no state machine");
    assert_eq!(proposed, ProposeError::Witness);
    for read in [
        outcome(witness.read(|_| ())),
        outcome(witness.read_barrier()),
        outcome(witness.read_at_least(1, |_| ())),
        outcome(witness.read_stale(|_| ())).map(drop),
    ] {
        assert_eq!(read, Err(ReadError::Witness));
    }
    let id = ReplicaId(WITNESS);
    let to = |id: u64| three.at(leader).transfer_leadership(Some(ReplicaId(id)));
    assert_eq!(to(WITNESS), Err(TransferError::Witness { id }));
    assert_eq!(to(9), Err(TransferError::NotAVoter { id: ReplicaId(9) }));
    let soon = MemberChange::new;
    for (change, error, text) in [
        (
            soon().set_priority(WITNESS, 1),
            ChangeError::Witness(id),
            "replica 3 is a witness and never leads",
        ),
        (
            soon().remove(1).demote(2),
            ChangeError::NoVoters,
            "keep a voter that is no witness",
        ),
    ] {
        let refused = outcome(witness.change_members(change)).expect_err("it can't be done");
        assert!(refused.to_string().contains(text), "{refused}");
        assert_eq!(refused, MembersError::Refused(error));
    }
}

#[test]
fn who_is_a_witness_is_said_the_same_everywhere() {
    let three = |id| Replica::<Journal>::builder(id).members((1..=3).map(|id| (id, "")));
    let in_memory = |builder: Builder<Journal>| {
        let hub = MemoryCluster::new();
        builder.storage(MemoryStorage::new()).cluster(hub.link(1))
    };
    let start = |builder| {
        in_memory(builder)
            .start(Journal::default())
            .expect_err("it can't")
    };
    for (error, text) in [
        (start(three(3).witnesses([3])), "start it with `Witness`"),
        (
            start(three(1).witnesses([9])),
            "replica 9 is not among the members",
        ),
        (start(three(1).witnesses([1, 2, 3])), "nobody could lead"),
        (
            Replica::builder(1)
                .members([(1, ""), (2, "")])
                .start(Witness)
                .expect_err("it can't"),
            "replica 1 is no witness of its group",
        ),
    ] {
        assert!(error.to_string().contains(text), "{error}");
    }
    let one = [
        little_raft::Member::voter(1, "a"),
        little_raft::Member::voter(2, "b"),
    ];
    let other = [one[0].clone(), little_raft::Member::witness(2, "b")];
    assert_ne!(
        little_raft::cluster_id("", &one),
        little_raft::cluster_id("", &other)
    );
}

/// What was written down counts, whatever the settings say.
#[test]
fn a_member_stays_what_it_was_when_it_joined() {
    let dir = Dir::new("stays-a-witness");
    let members = members(3);
    drop((full(1, &members, &dir.0), witness(&members, &dir.0)));
    let at = |id: u64| {
        Replica::builder(id)
            .join(members.to_vec())
            .data_dir(dir.0.join(id.to_string()))
    };
    let error = at(3)
        .start(Journal::default())
        .map(drop)
        .expect_err("it is a witness");
    assert!(
        matches!(error, StartError::IsWitness { id: ReplicaId(3) }),
        "{error}"
    );
    let builder = Replica::builder(1).join(members.to_vec());
    let error = builder.data_dir(dir.0.join("1")).start(Witness).map(drop);
    let error = error.expect_err("it is none");
    assert!(
        matches!(error, StartError::NoWitness { id: ReplicaId(1) }),
        "{error}"
    );
    let error = recover_group(dir.0.join("3"), &Recovery::accept_data_loss());
    let error = error.expect_err("it has no state");
    assert!(matches!(error, RecoverError::Witness { .. }), "{error}");
}

#[test]
fn who_joins_as_something_else_than_it_is_stops() {
    let group = Group::new(2);
    let (full, witness) = (
        joiner(3, &group, Journal::default()),
        joiner(4, &group, Witness),
    );
    let changes = MemberChange::new()
        .add_witness(3, "x")
        .add(4, "y")
        .once_committed();
    outcome(group.at(1).change_members(changes)).expect("they join");
    let ends = [
        until("it stops", || full.stopped()),
        until("it stops", || witness.stopped()),
    ];
    for reason in ends {
        assert_eq!(reason, StopReason::Misfit);
        assert!(reason.is_failure(), "{reason}");
    }
}
