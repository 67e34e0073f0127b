//! Three durable replicas of a counter. Run it again: it counts on.
use std::{env, error, io};

use little_raft::{Entry, Replica, StateMachine};

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _entry: Entry<'_>) -> u64 {
        self.0 += 1;
        self.0
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.to_string().into_bytes())
    }
    fn restore(&mut self, snapshot: &mut dyn io::Read) -> io::Result<()> {
        let count = io::read_to_string(snapshot)?;
        self.0 = count.parse().map_err(io::Error::other)?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let members = [1, 2, 3].map(|id: u64| (id, format!("127.0.0.1:710{id}")));
    let start = |id: u64| {
        let replica = Replica::builder(id).members(members.clone());
        let dir = env::temp_dir().join(format!("counter-{id}"));
        replica.data_dir(dir).start(Counter::default())
    };
    let replicas = [start(1)?, start(2)?, start(3)?];
    for replica in &replicas {
        let count = replica.propose("+1").wait()?;
        println!("replica {} counted to {count}", replica.id());
    }
    Ok(())
}
