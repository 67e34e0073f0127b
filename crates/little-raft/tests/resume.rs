//! Snapshots over TCP whose way is cut in the middle: what has arrived is not sent again.
#![allow(missing_docs)]

mod common;

use common::durable::{Counter, Disk};
use common::proxy::Proxy;
use common::{Bound, Dir, Journal, members, outcome, timing, until};
use little_raft::{Replica, ReplicaId, State, StateMachine};

/// The one that falls behind.
const STRAGGLER: u64 = 3;
/// How much a snapshot has, about.
const STATE_BYTES: u64 = 4 << 20;
const COMMANDS: u64 = 62;

/// Three replicas, one of which is reached through a proxy.
struct Group {
    dir: Dir,
    /// Where each is reached.
    members: Vec<(u64, String)>,
    straggler_listens: String,
    proxy: Proxy,
    _bound: Bound,
}

impl Group {
    fn new(name: &str) -> Self {
        let mut addresses = members(4);
        let (_, straggler_listens) = addresses.pop().expect("there are four");
        let (_, proxied) = &addresses[STRAGGLER as usize - 1];
        Self {
            dir: Dir::new(name),
            proxy: Proxy::new(proxied, &straggler_listens),
            members: addresses,
            straggler_listens,
            _bound: Bound::new(),
        }
    }

    fn start<M: StateMachine>(&self, id: u64, machine: M) -> Replica<M> {
        let builder = Replica::<M>::builder(id)
            .members(self.members.clone())
            .data_dir(self.dir.0.join(id.to_string()))
            .timing(timing())
            .snapshot_entries(20)
            .snapshot_rate(2 * STATE_BYTES)
            .limits(|config| {
                config.message_bytes_max = 128 << 10;
                config.cache_bytes_max = 1 << 20;
            });
        let builder = match id {
            STRAGGLER => builder.listen(self.straggler_listens.clone()),
            _ => builder,
        };
        builder.start(machine).expect("it starts")
    }

    /// Cuts the straggler off once about half of a snapshot has come.
    fn cut_in_the_middle(&self) {
        until("half of it has come", || {
            (self.proxy.passed() > STATE_BYTES / 2).then_some(())
        });
        self.proxy.cut();
    }

    fn assert_little_came_twice(&self) {
        let passed = self.proxy.passed();
        assert!(passed > STATE_BYTES, "{passed} bytes are not all");
        let most = STATE_BYTES + STATE_BYTES / 4;
        assert!(passed < most, "{passed} bytes for {STATE_BYTES}");
    }
}

fn leader<M: StateMachine>(replicas: &[&Replica<M>]) -> usize {
    until("a leader", || {
        let leads = |it: &&Replica<M>| it.status().state == State::Leader;
        replicas.iter().position(leads)
    })
}

/// Two journals that have applied each command alone, so that their snapshots are of the same places; the log begins
/// after the first commands.
fn filled(group: &Group) -> [Replica<Journal>; 2] {
    let pair = [1, 2].map(|id| group.start(id, Journal::default()));
    let filling = "x".repeat((STATE_BYTES / COMMANDS) as usize);
    for count in 1..=COMMANDS as usize {
        let command = format!("{count} {filling}");
        assert_eq!(outcome(pair[0].propose(command)), Ok(count));
        for replica in &pair {
            let seen = outcome(replica.read(|journal| journal.commands.len()));
            assert_eq!(seen, Ok(count));
        }
    }
    pair
}

fn assert_caught_up(straggler: &Replica<Journal>, expected: &Replica<Journal>) {
    let all = |journal: &Journal| (journal.commands.clone(), journal.restored > 0);
    let expected = outcome(expected.read(|journal| journal.commands.clone()));
    let (commands, is_restored) = outcome(straggler.read(all)).expect("it is read");
    assert!(Ok(commands) == expected, "it has what the others have");
    assert!(is_restored, "it came by a snapshot");
}

#[test]
fn a_snapshot_goes_on_after_its_receiver_has_restarted() {
    let group = Group::new("resume-restart");
    let pair = filled(&group);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.cut_in_the_middle();
    drop(straggler);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.proxy.mend();
    assert_caught_up(&straggler, &pair[0]);
    group.assert_little_came_twice();
}

#[test]
fn a_snapshot_goes_on_under_another_leader_that_has_the_same() {
    let group = Group::new("resume-leader");
    let pair = filled(&group);
    let straggler = group.start(STRAGGLER, Journal::default());
    group.cut_in_the_middle();
    let before = leader(&pair.each_ref());
    let next = ReplicaId(2 - before as u64);
    until("the other leads", || {
        pair[before]
            .transfer_leadership(Some(next))
            .expect("it may lead");
        (pair[1 - before].status().state == State::Leader).then_some(())
    });
    group.proxy.mend();
    assert_caught_up(&straggler, &pair[0]);
    group.assert_little_came_twice();
}

#[test]
fn a_view_that_is_written_as_it_is_sent_goes_on_too() {
    let group = Group::new("resume-view");
    let disks = [(); 3].map(|()| Disk::default());
    let start = |id: u64| {
        let machine = Counter {
            padding: STATE_BYTES as usize,
            ..Counter::open(&disks[id as usize - 1])
        };
        group.start(id, machine)
    };
    let pair = [start(1), start(2)];
    // A durable machine is asked every 1,000 entries what of the log it no longer needs.
    let mut total = 0;
    for _ in 0..2_500 {
        total += 1;
        assert_eq!(outcome(pair[0].propose("+1")), Ok(total));
    }
    let straggler = start(STRAGGLER);
    group.cut_in_the_middle();
    drop(straggler);
    let straggler = start(STRAGGLER);
    group.proxy.mend();
    let seen = outcome(straggler.read(|counter| (counter.count, counter.applied_here)));
    let (count, applied) = seen.expect("it is read");
    assert_eq!(count, total);
    assert!(applied < total, "it came by a view");
    group.assert_little_came_twice();
}
