//! Two replicas and a witness: when one replica stops, the other counts on.
use std::{env, error, fs, io};

use little_raft::{Entry, Replica, StartError, StateMachine, Witness};

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

type Members = [(u64, String); 3];

fn counter(id: u64, members: Members) -> Result<Replica<Counter>, StartError> {
    let dir = env::temp_dir().join(format!("witness-{id}"));
    let replica = Replica::builder(id).members(members).witnesses([3]);
    replica.data_dir(dir).start(Counter::default())
}

fn witness(members: Members) -> Result<Replica<Witness>, StartError> {
    let dir = env::temp_dir().join("witness-3");
    let replica = Replica::builder(3).members(members).witnesses([3]);
    replica.data_dir(dir).start(Witness)
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let members = [1, 2, 3].map(|id: u64| (id, format!("127.0.0.1:712{id}")));
    for id in 1..=3 {
        let _ = fs::remove_dir_all(env::temp_dir().join(format!("witness-{id}")));
    }
    let (first, second) = (counter(1, members.clone())?, counter(2, members.clone())?);
    let witness = witness(members)?;
    println!("replica 1 counted to {}", first.propose("+1").wait()?);
    // A leader hands over before it stops.
    first.stop();
    let mut watch = witness.watch_status();
    while watch.next().wait()?.leader != Some(second.id()) {}
    println!("replica 2 counted to {}", second.propose("+1").wait()?);
    Ok(())
}
