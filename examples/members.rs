//! A fourth replica joins three, and the first one leaves, while the counter counts on.
use std::{env, error, fs, io};

use little_raft::{Entry, MemberChange, Replica, StateMachine};

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

type Outcome<T> = Result<T, Box<dyn error::Error>>;

/// Replaces replica 1 by replica 4, by way of any replica of the group.
fn replace(any: &Replica<Counter>, all_four: Vec<(u64, String)>) -> Outcome<Replica<Counter>> {
    let address = all_four[3].1.clone();
    let dir = env::temp_dir().join("members-4");
    let fourth = Replica::builder(4).join(all_four).data_dir(dir);
    let fourth = fourth.start(Counter::default())?;
    // It is a learner until it has caught up. The change ends when it votes.
    let change = MemberChange::new().add(4, address);
    any.change_members(change).wait()?;
    // Whoever is removed stops; a leader hands over first.
    let change = MemberChange::new().remove(1);
    fourth.change_members(change).wait()?;
    Ok(fourth)
}

fn main() -> Outcome<()> {
    let members = [1, 2, 3, 4].map(|id: u64| (id, format!("127.0.0.1:711{id}")));
    let start = |id: u64| {
        let dir = env::temp_dir().join(format!("members-{id}"));
        let replica = Replica::builder(id).members(members[..3].to_vec());
        replica.data_dir(dir).start(Counter::default())
    };
    for id in 1..=4 {
        let _ = fs::remove_dir_all(env::temp_dir().join(format!("members-{id}")));
    }
    let founders = [start(1)?, start(2)?, start(3)?];
    println!("replica 1 counted to {}", founders[0].propose("+1").wait()?);
    let fourth = replace(&founders[1], members.to_vec())?;
    println!("replica 4 counted to {}", fourth.propose("+1").wait()?);
    for member in fourth.status().members.iter() {
        println!("member {} at {}", member.id, member.address);
    }
    Ok(())
}
