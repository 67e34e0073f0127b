//! A state machine with durable storage of its own: it goes on where it was, and streams views to stragglers.
#![allow(missing_docs)]

mod common;

use common::durable::{Counter, Disk};
use common::{Bound, outcome, timing, until};
use little_raft::{MemoryCluster, MemoryStorage, Replica, State, Storage};

#[test]
fn p50_a_durable_machine_applies_nothing_twice_and_feeds_stragglers() {
    let _bound = Bound::new();
    let hub = MemoryCluster::new();
    let logs = [(); 3].map(|()| MemoryStorage::new());
    let disks = [(); 3].map(|()| Disk::default());
    let start = |id: u64| {
        Replica::<Counter>::builder(id)
            .members([(1, ""), (2, ""), (3, "")])
            .timing(timing())
            .snapshot_entries(100)
            .limits(|config| config.cache_bytes_max = 1 << 20)
            .storage(logs[id as usize - 1].clone())
            .cluster(hub.link(id))
            .start(Counter {
                padding: 1_500_000,
                ..Counter::open(&disks[id as usize - 1])
            })
            .expect("it starts")
    };
    let (first, second) = (start(1), start(2));
    let leader = until("a leader", || {
        let leads = |replica: &&Replica<Counter>| replica.status().state == State::Leader;
        [&first, &second].into_iter().find(leads).map(Replica::id)
    });
    let log = logs[leader.0 as usize - 1].reader();
    let mut total = 0;
    // The third might still come: for an election timeout the log is kept for it.
    until("the log is compacted", || {
        for _ in 0..1_000 {
            total += 1;
            assert_eq!(outcome(first.propose("+1")), Ok(total));
        }
        log.entries(1, 1, 1).is_err().then_some(())
    });
    let third = start(3);
    let seen = outcome(third.read(|counter| (counter.count, counter.applied_here)));
    let (count, applied) = seen.expect("it is read");
    assert_eq!(count, total);
    assert!(applied < total, "it came by a view");
    drop((first, second, third));
    let again = [start(1), start(2), start(3)];
    for replica in &again {
        let seen = outcome(replica.read(|counter| (counter.count, counter.applied_here)));
        assert_eq!(seen, Ok((total, 0)));
    }
}
