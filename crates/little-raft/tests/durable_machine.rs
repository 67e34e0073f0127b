//! A state machine with durable storage of its own: it goes on where it was, and streams views to stragglers.
#![allow(missing_docs)]

mod common;

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use common::{Bound, outcome, timing, until};
use little_raft::{
    Entry, LibraryState, MemoryCluster, MemoryStorage, Position, Replica, State, StateMachine,
    Storage,
};

/// What survives: a count, and up to where.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(u64, Position, LibraryState)>>);

struct Counter {
    disk: Disk,
    count: u64,
    applied_here: u64,
}

impl Counter {
    fn open(disk: &Disk) -> Self {
        Self {
            count: disk.0.lock().expect("no panic").0,
            disk: disk.clone(),
            applied_here: 0,
        }
    }
}

impl StateMachine for Counter {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _: Entry<'_>) -> u64 {
        self.count += 1;
        self.applied_here += 1;
        self.count
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok([self.count.to_le_bytes().to_vec(), vec![0; 1_500_000]].concat())
    }
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }
    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        *self.disk.0.lock().expect("no panic") = (self.count, upto, library.clone());
        Ok(())
    }
    fn durable(&self) -> Option<(Position, LibraryState)> {
        let (_, position, library) = self.disk.0.lock().expect("no panic").clone();
        Some((position, library))
    }
}

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
            .start(Counter::open(&disks[id as usize - 1]))
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
