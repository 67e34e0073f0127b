//! Five servers, the network between them, and how they change places.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use little_raft_server::demo::client::Client;

use tokio::task::JoinHandle;

use crate::common::free_port;
use crate::journal::Journal;
use crate::link::Link;
use crate::member::{Address, Member};
use crate::network::Network;
use crate::random::Random;

pub const COUNT: usize = 5;
/// How many of the places have a small disk, which can be filled.
const SMALL_DISKS: usize = 2;
/// Without faults everything that was begun ends within this.
pub const MENDED_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Cluster {
    pub journal: Arc<Journal>,
    /// By their places, each of which keeps its port for clients, whoever sits there.
    pub members: Vec<Member>,
    network: Network,
    folder: PathBuf,
    /// How many there ever were.
    named: usize,
}

impl Cluster {
    pub async fn start(folder: &Path, journal: Arc<Journal>, random: Random) -> Self {
        let mut network = Network::new(random);
        let mut addresses = Vec::new();
        for place in 0..COUNT {
            let address = address(place, free_port());
            network.lead(address.public, address.private).await;
            addresses.push(address);
        }
        let entries: Vec<String> = addresses.iter().map(Address::entry).collect();
        let founders = entries.join(",");
        let member = |address| Member::new(address, folder, &founders, "new");
        let mut members: Vec<Member> = addresses.into_iter().map(member).collect();
        members[..SMALL_DISKS].iter_mut().for_each(Member::mount);
        members.iter_mut().for_each(Member::start);
        let mut cluster = Self {
            journal,
            members,
            network,
            folder: folder.into(),
            named: COUNT,
        };
        cluster.learn_ids().await;
        cluster
    }

    async fn learn_ids(&mut self) {
        let begun = Instant::now();
        for place in 0..COUNT {
            let peer = self.members[place].address.peer();
            let id = loop {
                if let Ok(Some(member)) = self.client(place).member_at(&peer).await {
                    break member.id;
                }
                assert!(
                    begun.elapsed() < MENDED_TIMEOUT,
                    "the cluster doesn't begin"
                );
                tokio::time::sleep(POLL).await;
            };
            self.members[place].id = id;
        }
    }

    pub fn client(&self, place: usize) -> Client {
        Client::new(&format!("127.0.0.1:{}", self.members[place].address.client))
    }

    pub fn clients(&self) -> Vec<Client> {
        (0..COUNT).map(|place| self.client(place)).collect()
    }

    pub fn name(&self, place: usize) -> &str {
        &self.members[place].address.name
    }

    /// Where the newest leader sits, as far as the servers know.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for client in self.clients() {
            if let Ok(status) = client.status(STATUS_TIMEOUT).await
                && status.leader != 0
            {
                newest = newest.max(Some((status.raft_term, status.leader)));
            }
        }
        let (_, leader) = newest?;
        self.members.iter().position(|member| member.id == leader)
    }

    /// Changes the way from each of some to each of others.
    pub fn change_links(&self, from: &[usize], to: &[usize], change: impl Fn(&mut Link)) {
        for &from in from {
            for &to in to.iter().filter(|to| **to != from) {
                let ids = (self.members[from].id, self.members[to].id);
                self.network.change(ids.0, ids.1, &change);
            }
        }
    }

    pub fn mend_network(&self) {
        self.network.mend();
    }

    pub fn mend_network_after(&self, time: Duration) -> JoinHandle<()> {
        self.network.mend_after(time)
    }

    /// Everyone runs, and nothing hinders them.
    pub fn mend(&mut self) -> Result<(), String> {
        self.mend_network();
        for member in &mut self.members {
            if let Some(disk) = &member.disk {
                disk.empty();
            }
            member.lift_limit();
            if member.is_paused() {
                member.resume();
            }
        }
        self.start_all()
    }

    /// Whoever doesn't run is started. Nobody may have ended without cause.
    pub fn start_all(&mut self) -> Result<(), String> {
        for place in 0..COUNT {
            self.look_at(place)?;
            if !self.members[place].runs() {
                self.members[place].start();
            }
        }
        Ok(())
    }

    /// Whether somebody ended without cause.
    pub fn look(&mut self) -> Result<(), String> {
        (0..COUNT).try_for_each(|place| self.look_at(place))
    }

    fn look_at(&mut self, place: usize) -> Result<(), String> {
        match self.members[place].ended() {
            Some(Ok(status)) => {
                let name = self.name(place);
                self.journal.note(format!("{name} ended, {status}"));
                Ok(())
            }
            Some(Err(reason)) => Err(reason),
            None => Ok(()),
        }
    }

    /// Waits until all follow one leader, and everyone's clients are served.
    pub async fn all_serve(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        for place in 0..COUNT {
            loop {
                let answer = self.client(place).get("any", STATUS_TIMEOUT).await;
                let Err(status) = answer else { break };
                self.start_all()?;
                if begun.elapsed() > MENDED_TIMEOUT {
                    let name = self.name(place);
                    return Err(format!(
                        "{name} doesn't serve, though all is mended: {status}"
                    ));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Whoever sits here leaves for good, and a new one joins with an empty disk and a name of its own.
    pub async fn replace(&mut self, place: usize) -> Result<(), String> {
        let old = self.members[place].id;
        self.members[place].let_end();
        let gone = self.asked(place, |client| async move {
            client.remove_member(old).await.map(drop)
        });
        gone.await?;
        self.members[place].kill();
        let address = address(self.named, self.members[place].address.client);
        self.named += 1;
        self.network.lead(address.public, address.private).await;
        let peer = address.peer();
        let added = self.asked(place, |client| {
            let peer = peer.clone();
            async move { client.add_member(&peer).await }
        });
        added.await?;
        let listed = self.asked(place, |client| {
            let peer = peer.clone();
            async move { client.member_at(&peer).await }
        });
        let id = listed
            .await?
            .ok_or("a member that was added is not listed")?
            .id;
        let others = (0..COUNT).filter(|it| *it != place);
        let mut entries: Vec<String> = others.map(|it| self.members[it].address.entry()).collect();
        entries.push(address.entry());
        let mut member = Member::new(address, &self.folder, &entries.join(","), "existing");
        member.id = id;
        if place < SMALL_DISKS {
            member.mount();
        }
        member.start();
        self.members[place] = member;
        Ok(())
    }

    /// Until the one at this place votes.
    pub async fn votes(&mut self, place: usize) -> Result<(), String> {
        let peer = self.members[place].address.peer();
        let begun = Instant::now();
        loop {
            self.look()?;
            let listed = self.client(place).member_at(&peer).await;
            if matches!(&listed, Ok(Some(member)) if !member.is_learner) {
                return Ok(());
            }
            if begun.elapsed() > MENDED_TIMEOUT {
                let name = self.name(place);
                return Err(format!("{name} joined, and doesn't vote: {listed:?}"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks one after the other of those at other places, until one has done it.
    async fn asked<T, Answer>(
        &self,
        place: usize,
        ask: impl Fn(Client) -> Answer,
    ) -> Result<T, String>
    where
        Answer: Future<Output = Result<T, tonic::Status>>,
    {
        let begun = Instant::now();
        let others: Vec<usize> = (0..COUNT).filter(|it| *it != place).collect();
        for other in others.iter().cycle() {
            match ask(self.client(*other)).await {
                Ok(answer) => return Ok(answer),
                Err(status) if begun.elapsed() > MENDED_TIMEOUT => {
                    return Err(format!("the members can't be changed: {status}"));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
        unreachable!("there are others, and they are asked for ever")
    }
}

fn address(number: usize, client: u16) -> Address {
    Address {
        name: format!("s{number}"),
        client,
        public: free_port(),
        private: free_port(),
    }
}
