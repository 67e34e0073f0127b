//! Three replicas as real processes, with clients that write in the background.

#![allow(dead_code)] // each test uses its part

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use little_raft_server::demo::client::Client;
use little_raft_server::demo::ledger::Ledger;
use little_raft_server::demo::replicas::{COUNT, Replicas, SEATS, State};
use little_raft_server::demo::writer::{Pace, SHORT_PATIENCE, Writer};
use little_raft_server::proto::etcdserverpb::StatusResponse;
use tonic::transport::Channel;

const TIMEOUT: Duration = Duration::from_secs(60);
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// What the writer's keys begin with.
const PREFIX: &str = "write/";

pub struct Three {
    pub replicas: Replicas,
    pub clients: Vec<Client>,
}

impl Drop for Three {
    fn drop(&mut self) {
        self.replicas.kill_all();
        if std::thread::panicking() {
            eprintln!(
                "the replicas' logs are in {}",
                self.replicas.dir().display()
            );
        } else {
            drop(std::fs::remove_dir_all(self.replicas.dir()));
        }
    }
}

impl Three {
    /// Starts them, and waits until all follow one leader.
    pub async fn start(flags: &[&str]) -> Self {
        let mut three = Self::described(flags);
        three.begin().await;
        three
    }

    /// Not started yet.
    pub fn described(flags: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("little-raft-three-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let program = Path::new(env!("CARGO_BIN_EXE_little-raft"));
        let replicas = Replicas::new(program, &dir, flags).expect("the folder can be made");
        let clients = clients(&replicas);
        Self { replicas, clients }
    }

    /// In a story of its own: connections live as long as the one that they were made in.
    pub fn reconnect(&mut self) {
        self.clients = clients(&self.replicas);
    }

    pub async fn begin(&mut self) {
        for which in 0..COUNT {
            self.replicas.start(which).expect("the program starts");
        }
        self.all_follow().await;
    }

    /// A connection to one that listens.
    pub async fn channel(&self, which: usize) -> Channel {
        let address = format!("http://{}", self.replicas.client_address(which));
        let endpoint = Channel::from_shared(address).expect("it is a URL");
        endpoint.connect().await.expect("it listens")
    }

    /// Gives attempts up soon: replicas are going to die.
    pub fn write(&self, lanes: usize) -> Writer {
        self.write_with(lanes, SHORT_PATIENCE)
    }

    /// Gives none up that can end at all.
    pub fn write_patiently(&self, lanes: usize) -> Writer {
        self.write_with(lanes, TIMEOUT)
    }

    fn write_with(&self, lanes: usize, patience: Duration) -> Writer {
        let pace = Pace {
            lanes,
            pause: Duration::ZERO,
            patience,
        };
        Writer::start(&self.clients, PREFIX, pace)
    }

    /// Waits for an acknowledged write that began after `since`.
    pub async fn acknowledged_since(&mut self, writer: &Writer, since: Instant) -> Duration {
        let told = writer.acknowledged_since(since);
        match tokio::time::timeout(TIMEOUT, told).await {
            Ok(Ok(at)) => at - since,
            _ => panic!("no write is acknowledged any more; {:?}", self.states()),
        }
    }

    /// Waits until that many more writes are acknowledged.
    pub async fn more(&mut self, writer: &Writer, more: u64) {
        let total = || writer.acknowledged_by().iter().sum::<u64>();
        let goal = total() + more;
        self.until("more writes", async |_| (total() >= goal).then_some(()))
            .await;
    }

    /// Waits until the first three name one leader, and returns it: it may be one that joined.
    pub async fn all_follow(&mut self) -> usize {
        self.until("all to follow one leader", async |three| {
            let mut statuses = Vec::new();
            for client in &three.clients[..COUNT] {
                statuses.push(client.status(STATUS_TIMEOUT).await.ok()?);
            }
            let first = (statuses[0].leader, statuses[0].raft_term);
            let same = |status: &StatusResponse| (status.leader, status.raft_term) == first;
            statuses.iter().all(same).then_some(())?;
            for (which, client) in three.clients.iter().enumerate() {
                let status = client.status(STATUS_TIMEOUT).await;
                if status.is_ok_and(|status| own_id(&status) == first.0) {
                    return Some(which);
                }
            }
            None
        })
        .await
    }

    pub async fn until<T>(
        &mut self,
        what: &str,
        mut ask: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask(self).await {
                return answer;
            }
            let states = self.states();
            let ended = |state: &State| matches!(state, State::Ended(_));
            assert!(!states.iter().any(ended), "waiting for {what}: {states:?}");
            assert!(begun.elapsed() < TIMEOUT, "waited for {what}: {states:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn states(&mut self) -> Vec<State> {
        (0..SEATS).map(|which| self.replicas.state(which)).collect()
    }

    /// Adds one that begins with nothing, and waits until it votes. `asked` is running.
    pub async fn join(&mut self, which: usize, members: &[usize], asked: usize) {
        self.replicas
            .let_join(which, members)
            .expect("it can be emptied");
        let peer = self.replicas.peer_address(which);
        self.until("an addition", async |three| {
            three.clients[asked].add_member(&peer).await.ok()
        })
        .await;
        self.replicas.start(which).expect("the program starts");
        self.until("who joined to vote", async |three| {
            let member = three.clients[asked].member_at(&peer).await.ok()??;
            (!member.is_learner && !member.name.is_empty()).then_some(())
        })
        .await;
    }

    /// Removes one, and waits until it has ended. `asked` is running.
    pub async fn leave(&mut self, which: usize, asked: usize) {
        self.replicas.let_leave(which);
        let peer = self.replicas.peer_address(which);
        self.until("a removal", async |three| {
            let member = three.clients[asked].member_at(&peer).await.ok()?;
            match member {
                Some(member) => three.clients[asked].remove_member(member.id).await.ok(),
                None => Some(()),
            }
        })
        .await;
        let begun = Instant::now();
        while self.replicas.state(which) != State::Down {
            assert!(
                begun.elapsed() < TIMEOUT,
                "replica {which} was removed and doesn't end"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Hands leadership over to this one, whoever leads.
    pub async fn transfer(&mut self, to: usize) {
        self.until("a transfer", async |three| {
            let id = own_id(&three.clients[to].status(STATUS_TIMEOUT).await.ok()?);
            for client in &three.clients {
                if let Ok(status) = client.status(STATUS_TIMEOUT).await
                    && own_id(&status) == status.leader
                {
                    // It may lead already, or not yet be able to: then it is asked again.
                    return client.move_leader(id).await.ok();
                }
            }
            None
        })
        .await;
    }

    /// Compares all that the replicas have with what was acknowledged.
    pub async fn prove(&mut self, ledger: &Ledger) {
        self.prove_at(ledger, &[0, 1, 2]).await;
    }

    /// The same, for these.
    pub async fn prove_at(&mut self, ledger: &Ledger, members: &[usize]) {
        // All as of one revision: what nobody answered for may still take effect.
        let (mut found, mut revision) = (Vec::new(), None);
        for &which in members {
            let ask =
                async |three: &Self| three.clients[which].get_all(PREFIX, revision).await.ok();
            let (at, keys) = self.until("all keys", ask).await;
            revision = Some(at);
            found.push(keys);
        }
        let verdict = ledger.check(&found);
        assert!(verdict.is_clean(), "{verdict:#?}");
        println!(
            "{} writes, {} acknowledged, {} unknown of which {} took effect",
            ledger.writes(),
            ledger.acknowledged(),
            ledger.unknown(),
            ledger.unknown_found(&found[0]),
        );
    }
}

fn clients(replicas: &Replicas) -> Vec<Client> {
    let client = |which| Client::new(&replicas.client_address(which));
    (0..SEATS).map(client).collect()
}

fn own_id(status: &StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}
