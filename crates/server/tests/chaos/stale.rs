//! The checker judges real servers: what one that is cut off says by itself, passed off as a linearizable read, it
//! refuses.

use std::sync::Arc;
use std::time::Duration;

use little_raft_history::{Call, Operation, check};

use crate::cluster::{COUNT, Cluster};
use crate::common::Folder;
use crate::journal::Journal;
use crate::link::Passage;
use crate::random::Random;
use crate::store::{Answer, Store};
use crate::workload::nanoseconds;

const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "register";

#[test]
fn a_stale_read_is_found() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let found =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), story()).await });
    runtime.shutdown_background();
    found.expect("it hangs");
}

async fn story() {
    let folder = Folder::new();
    let journal = Arc::new(Journal::new());
    let cluster = Cluster::start(&folder.0, Arc::clone(&journal), Random::new(0)).await;
    let leader = cluster.leader().await.expect("it has begun");
    let (other, cut_off) = ((leader + 1) % COUNT, (leader + 2) % COUNT);
    let recorder = Recorder { cluster, journal };
    let mut history = vec![recorder.call(other, Call::Put { value: 1 }).await];
    history.push(recorder.call(cut_off, Call::Get).await);
    let rest: Vec<usize> = (0..COUNT).filter(|place| *place != cut_off).collect();
    let cluster = &recorder.cluster;
    cluster.change_links(&rest, &[cut_off], |link| link.passage = Passage::Held);
    history.push(recorder.call(other, Call::Put { value: 2 }).await);
    history.push(recorder.call(other, Call::Get).await);
    check(history.clone()).expect("nothing was wrong so far");
    history.push(recorder.get_local(cut_off).await);
    let violation = check(history).expect_err("the last read is stale");
    assert_eq!(violation.at, 4, "{violation}");
}

struct Recorder {
    cluster: Cluster,
    journal: Arc<Journal>,
}

impl Recorder {
    /// Until it is answered.
    async fn call(&self, place: usize, call: Call) -> Operation {
        let called = self.journal.elapsed();
        let answer = self.store(place).call(KEY, call, true).await;
        let Answer::Done(found) = answer else {
            panic!("{call} at {place}: {answer:?}");
        };
        self.operation(place, call, called, found)
    }

    async fn get_local(&self, place: usize) -> Operation {
        let called = self.journal.elapsed();
        let found = self.store(place).get_local(KEY).await;
        let found = found.expect("it needs nobody else");
        self.operation(place, Call::Get, called, Some(found))
    }

    fn store(&self, place: usize) -> Store {
        Store::new(self.cluster.client(place), PATIENCE)
    }

    fn operation(
        &self,
        place: usize,
        call: Call,
        called: Duration,
        found: Option<little_raft_history::Held>,
    ) -> Operation {
        Operation {
            client: place as u64,
            key: KEY.into(),
            call,
            called: nanoseconds(called),
            ended: Some(nanoseconds(self.journal.elapsed())),
            found,
        }
    }
}
