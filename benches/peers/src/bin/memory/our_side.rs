//! Three replicas of ours in this process, with the library's own cluster and storage in memory.

use std::io::{self, Read};
use std::time::Duration;

use little_raft::{Bytes, Entry, MemoryCluster, MemoryStorage, Replica, State, StateMachine};

use crate::Client;

/// The group.
pub struct Group {
    replicas: Vec<Replica<Machine>>,
}

impl Group {
    pub async fn start() -> Self {
        let hub = MemoryCluster::new();
        let replicas = (1..=3u64).map(|id| {
            Replica::<Machine>::builder(id)
                .members((1..=3u64).map(|id| (id, "")))
                .storage(MemoryStorage::new())
                .cluster(hub.link(id))
                .start(Machine(0))
                .expect("it starts")
        });
        let replicas = replicas.collect();
        let group = Self { replicas };
        while group.find_leader().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        group
    }

    pub fn leader(&self) -> Leader {
        Leader(self.find_leader().expect("nothing disturbs it"))
    }

    fn find_leader(&self) -> Option<Replica<Machine>> {
        let mut replicas = self.replicas.iter();
        replicas
            .find(|replica| replica.status().state == State::Leader)
            .cloned()
    }
}

/// A client's way in.
#[derive(Clone)]
pub struct Leader(Replica<Machine>);

impl Client for Leader {
    async fn write(&self) {
        let written = self.0.propose(Bytes::new()).await;
        written.expect("nothing disturbs it");
    }
}

/// A machine that knows only how far it is.
pub struct Machine(u64);

impl StateMachine for Machine {
    type Response = ();
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _: Entry<'_>) {
        self.0 += 1;
    }

    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}
