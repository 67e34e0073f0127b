//! Replicas compare digests of their state machines, and who differs from a majority stops (P58).
#![allow(missing_docs)]

mod common;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Bound, outcome, timing, until};
use little_raft::{
    Bytes, Entry, MemoryCluster, MemoryStorage, Replica, State, StateMachine, StopReason,
};

/// Adds up the lengths of commands, in memory that a test can damage.
struct Sum(Arc<AtomicU64>);

impl StateMachine for Sum {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) -> u64 {
        let length = entry.command.len() as u64;
        self.0.fetch_add(length, Ordering::SeqCst) + length
    }

    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.load(Ordering::SeqCst).to_le_bytes().to_vec())
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.0.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        Ok(())
    }

    fn digest(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst))
    }
}

struct Group {
    replicas: Vec<Replica<Sum>>,
    states: Vec<Arc<AtomicU64>>,
    _bound: Bound,
}

impl Group {
    fn new(count: u64) -> Self {
        let hub = MemoryCluster::new();
        let states: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let replicas = (1..=count).zip(&states).map(|(id, state)| {
            let builder = Replica::<Sum>::builder(id)
                .members((1..=count).map(|id| (id, "")))
                .timing(timing())
                .storage(MemoryStorage::new())
                .cluster(hub.link(id))
                .digest_interval(Duration::from_millis(50));
            builder.start(Sum(state.clone())).expect("it starts")
        });
        Self {
            replicas: replicas.collect(),
            states,
            _bound: Bound::new(),
        }
    }

    /// Its place in the list.
    fn leader(&self) -> usize {
        until("a leader", || {
            let leads = |replica: &Replica<Sum>| replica.status().state == State::Leader;
            self.replicas.iter().position(leads)
        })
    }

    fn flip_a_bit(&self, at: usize) {
        self.states[at].fetch_xor(1 << 40, Ordering::SeqCst);
    }

    /// Its state is compared anew, with this result.
    fn compare(&self, at: usize) -> u64 {
        let replica = &self.replicas[at];
        let before = replica.status().alike;
        until("the states are compared", || {
            let alike = replica.status().alike;
            (alike > before).then_some(alike)
        })
    }
}

fn a_flipped_bit_ends_its_replica(is_the_leaders: bool) {
    let group = Group::new(3);
    let leader = group.leader();
    let answer = group.replicas[leader].propose(Bytes::from_static(b"three"));
    assert_eq!(outcome(answer), Ok(5));
    (0..3).for_each(|at| _ = group.compare(at));
    let damaged = if is_the_leaders {
        leader
    } else {
        (leader + 1) % 3
    };
    group.flip_a_bit(damaged);
    let reason = until("it is found", || group.replicas[damaged].status().stopped);
    assert!(matches!(reason, StopReason::Diverged { .. }), "{reason}");
    assert!(
        reason
            .to_string()
            .contains("not the same as that of a majority")
    );
    // The others are sound, and go on.
    let other = (damaged + 1) % 3;
    until("another leader, if it was the leader's", || {
        let leader = group.replicas[other].status().leader?;
        (leader != group.replicas[damaged].status().id).then_some(())
    });
    assert_eq!(outcome(group.replicas[other].propose("more")), Ok(9));
    group.compare(other);
}

#[test]
fn p58_a_flipped_bit_ends_the_follower_that_has_it() {
    a_flipped_bit_ends_its_replica(false);
}

#[test]
fn p58_a_flipped_bit_ends_the_leader_that_has_it() {
    a_flipped_bit_ends_its_replica(true);
}

/// Nobody can know which of two is right: both go on, but don't call themselves alike.
#[test]
fn p58_two_that_differ_are_not_alike() {
    let group = Group::new(2);
    let leader = group.leader();
    (0..2).for_each(|at| _ = group.compare(at));
    group.flip_a_bit(leader);
    let replica = &group.replicas[leader];
    let compare_some = || {
        let last = replica.status().last;
        until("digests are taken and said", || {
            (replica.status().applied > last + 12).then_some(())
        });
    };
    // One comparison may have been under way.
    compare_some();
    let alike = replica.status().alike;
    compare_some();
    assert_eq!(replica.status().alike, alike);
    assert_eq!(replica.status().stopped, None);
}
