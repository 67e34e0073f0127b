//! From a description to a running replica.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use little_raft_core::{Codec, Config, Identity, Leases, Member, Message, Now, ReplicaId, Timing};

use crate::cluster::{Cluster, Inbox};
use crate::driver::{ApplierConfig, EngineConfig, Opening};
use crate::error::StartError;
use crate::machine::StateMachine;
use crate::replica::Replica;
use crate::shell::{Core, Immediate, Parts, Shell};
use crate::status::{Board, Shown};
use crate::storage::{Founding, Storage};
use crate::timer;

/// Describes a replica before it starts. Only [`members`](Self::members) has no default.
#[must_use = "nothing runs before `start`"]
pub struct Builder<M> {
    id: ReplicaId,
    members: Vec<Member>,
    witnesses: Vec<ReplicaId>,
    /// The members are those of a group to join, which may have other founders.
    joins: bool,
    cluster_id: Option<u64>,
    token: String,
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    timing: Timing,
    leases: Option<Leases>,
    engine: EngineConfig,
    applier: ApplierConfig,
    snapshot_rate: Option<u64>,
    nearest: Vec<ReplicaId>,
    storage: Option<Box<dyn Storage>>,
    cluster: Option<Box<dyn Cluster>>,
    #[expect(
        clippy::type_complexity,
        reason = "used once; a name would say no more"
    )]
    adjust: Option<Box<dyn FnOnce(&mut Config) + Send>>,
    machine: PhantomData<fn(M)>,
}

/// The one group of a cluster, until there are several.
const GROUP: u64 = 0;
/// How long a member of a group to join has to say which cluster it is.
#[cfg(feature = "net")]
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// A piece of a snapshot.
const PIECE_BYTES: usize = 512 << 10;
const PIECE_BYTES_MIN: usize = 1 << 10;

impl<M: StateMachine> Builder<M> {
    pub(crate) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            members: Vec::new(),
            witnesses: Vec::new(),
            joins: false,
            cluster_id: None,
            token: String::new(),
            data_dir: None,
            listen: None,
            timing: Timing::default(),
            leases: None,
            engine: EngineConfig::default(),
            applier: ApplierConfig {
                snapshot_entries: 10_000,
                snapshot_bytes: 64 << 20,
            },
            snapshot_rate: None,
            nearest: Vec::new(),
            storage: None,
            cluster: None,
            adjust: None,
            machine: PhantomData,
        }
    }

    /// The members the group begins with, this replica among them, and where their peers reach them. The same on
    /// every replica and at every start.
    pub fn members<I, A>(mut self, members: impl IntoIterator<Item = (I, A)>) -> Self
    where
        I: Into<ReplicaId>,
        A: Into<String>,
    {
        let members = members.into_iter();
        self.members = members.map(|(id, at)| Member::voter(id, at)).collect();
        self
    }

    /// Those of the members that are [witnesses](crate::Witness); default: none. The same on every replica. A group makes
    /// sense with two full replicas or more, and needs one.
    pub fn witnesses<I: Into<ReplicaId>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.witnesses = ids.into_iter().map(I::into).collect();
        self
    }

    /// Joins a running group instead of founding one: these are its members as they are now, this replica among them,
    /// and where their peers reach them. The replica takes part once
    /// [`change_members`](Replica::change_members) has added it, before or after it starts.
    ///
    /// At its first start it asks them which cluster they are, unless [`cluster_id`](Self::cluster_id) says so.
    pub fn join<I, A>(mut self, members: impl IntoIterator<Item = (I, A)>) -> Self
    where
        I: Into<ReplicaId>,
        A: Into<String>,
    {
        self.joins = true;
        self.members(members)
    }

    /// The cluster to join; [`Replica::cluster_id`] of any member tells it. Needed with a cluster of your own.
    pub fn cluster_id(mut self, id: u64) -> Self {
        self.cluster_id = Some(id);
        self
    }

    /// Keeps clusters with the same members apart; default: empty. The same on every replica.
    pub fn cluster_token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// Where the log and the snapshots are kept; default: `little-raft-<id>`. Of use with the built-in storage only.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Where to listen, if that is not the member's own address. Of use with the built-in cluster only.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Heartbeat and election timeouts. The same on every replica.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Serves reads on the leader without a round of heartbeats, on the word of a majority: each follower promises to
    /// help no other candidate for an election timeout, at most for `longest`. Only safe while no two clocks of the group
    /// differ by more than `drift` in that time; a replica that starts helps no candidate for `longest`. The same on
    /// every replica; off by default.
    pub fn lease_reads(mut self, longest: Duration, drift: Duration) -> Self {
        self.leases = Some(Leases { longest, drift });
        self
    }

    /// How long proposals and reads wait for a leader; default: 5 s.
    pub fn proposal_timeout(mut self, timeout: Duration) -> Self {
        self.engine.proposal_timeout = timeout;
        self
    }

    /// How many proposals may wait for a leader, and how many bytes of them; default: 65,536 and 64 MiB.
    pub fn parked_max(mut self, count: usize, bytes: usize) -> Self {
        self.engine.parked_count_max = count;
        self.engine.parked_bytes_max = bytes;
        self
    }

    /// After how many applied commands a snapshot is taken (of a durable machine: how many commands its log keeps for
    /// followers that lag); default: 10,000.
    pub fn snapshot_entries(mut self, count: u64) -> Self {
        self.applier.snapshot_entries = count;
        self.engine.tail_entries = count;
        self
    }

    /// After how many bytes of applied commands a snapshot is taken, if that comes first; default: 64 MiB.
    pub fn snapshot_bytes(mut self, bytes: usize) -> Self {
        self.applier.snapshot_bytes = bytes;
        self
    }

    /// Sends snapshots to followers no faster than so many bytes a second, all together; default: as fast as they go.
    pub fn snapshot_rate(mut self, bytes_per_second: u64) -> Self {
        self.snapshot_rate = Some(bytes_per_second);
        self
    }

    /// From whom this replica would rather have a snapshot than from the leader, when it needs one: those that are near, the
    /// nearest first; default: nobody. Who is gone, or has nothing new enough, costs ten election timeouts, and the next
    /// is asked; in the end the leader sends it.
    pub fn nearest<I: Into<ReplicaId>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.nearest = ids.into_iter().map(I::into).collect();
        self
    }

    /// How often the leader has all replicas compare [digests](StateMachine::digest) of their state machines; default: 20
    /// seconds. Each time costs an entry, and one more for each replica. `Duration::MAX` for never.
    pub fn digest_interval(mut self, interval: Duration) -> Self {
        self.engine.digest_interval = interval;
        self
    }

    /// Remembers in a storage of your own.
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Some(Box::new(storage));
        self
    }

    /// Talks through a cluster of your own.
    pub fn cluster(mut self, cluster: impl Cluster) -> Self {
        self.cluster = Some(Box::new(cluster));
        self
    }

    /// Adjusts the core's limits, before it starts.
    pub fn limits(mut self, adjust: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.adjust = Some(Box::new(adjust));
        self
    }

    /// Starts the replica: opens its storage, brings `machine` to the state that is remembered, joins the cluster.
    ///
    /// # Errors
    /// When the description contradicts itself or what is remembered, or when storage, cluster or machine fail. Each
    /// error says what to do.
    pub fn start(mut self, machine: M) -> Result<Replica<M>, StartError> {
        self.check()?;
        let storage = self.take_storage()?;
        let founding = self.founding(&*storage)?;
        let opening = Opening::open(storage, &founding, machine)?;
        let identity = opening.identity().clone();
        let is_recovered = founding.cluster != identity.cluster;
        if is_recovered {
            let (id, cluster) = (self.id, identity.cluster);
            tracing::warn!(
                "replica {id} is of cluster {cluster:016x}, which was recovered or restored; the members given are those of \
                 before, and the recorded ones count"
            );
        }
        let cluster = self.take_cluster(&identity, is_recovered)?;
        let config = self.config(&identity, cluster.max_message_bytes());
        let now = Now {
            monotonic: timer::monotonic(),
            wall: timer::wall(),
        };
        let begun = opening.begin(config, self.engine, self.applier, now)?;
        let command_bytes_max = cluster.max_message_bytes()
            - (2 * Message::OVERHEAD_BYTES).min(cluster.max_message_bytes() / 2);
        // Small enough that a slow transfer is not taken for one that has stopped.
        let slowly = self
            .snapshot_rate
            .map_or(usize::MAX, |rate| (rate / 10) as usize);
        let piece_bytes = PIECE_BYTES.min(slowly.max(PIECE_BYTES_MIN));
        let piece_bytes = piece_bytes.min(cluster.max_message_bytes() / 2);
        let (log, store) = (begun.log, begun.store);
        let (own, threads) = match begun.is_immediate {
            true => (Some(Immediate::new(log, store)), None),
            false => (None, Some((log, store))),
        };
        let (engine, applier) = (begun.engine, begun.applier);
        let board = Board::new(
            self.id,
            engine.progress(),
            Shown {
                applied: applier.shown(),
                alike: applier.alike(),
            },
            engine.membership(),
        );
        let shell = Shell::new(Parts {
            core: Core::new(engine, own),
            applier,
            snapshots: begun.snapshots,
            piece_bytes,
            snapshot_rate: self.snapshot_rate,
            board,
        });
        let replica = Replica::new(shell.clone(), command_bytes_max, identity.cluster);
        shell.start_threads(threads).map_err(StartError::Thread)?;
        let inbox = Inbox::new(Arc::new(shell.clone()));
        shell.join(cluster, inbox).map_err(StartError::Cluster)?;
        Ok(replica)
    }

    fn founding(&self, storage: &dyn Storage) -> Result<Founding, StartError> {
        let (cluster, founders) = match self.joins {
            true => (self.cluster_to_join(storage)?, Vec::new()),
            false => (cluster_id(&self.token, &self.members), self.members.clone()),
        };
        Ok(Founding {
            cluster,
            replica: self.id,
            incarnation: random(),
            founders,
        })
    }

    fn cluster_to_join(&self, storage: &dyn Storage) -> Result<u64, StartError> {
        if let Some(identity) = storage.identity()? {
            return Ok(identity.cluster);
        }
        match self.cluster_id {
            Some(id) => Ok(id),
            None => self.ask_for_cluster(),
        }
    }

    #[cfg(feature = "net")]
    fn ask_for_cluster(&self) -> Result<u64, StartError> {
        let mut said = Vec::new();
        for member in self.members.iter().filter(|member| member.id != self.id) {
            match little_raft_net::ask(&member.address, ASK_TIMEOUT) {
                Ok(hello) => return Ok(hello.cluster),
                Err(error) => said.push(format!("{}: {error}", member.address)),
            }
        }
        Err(StartError::NobodyToJoin(said.join(", ")))
    }

    #[cfg(not(feature = "net"))]
    fn ask_for_cluster(&self) -> Result<u64, StartError> {
        Err(StartError::LeftOut("way to ask (feature `net`)"))
    }

    fn check(&mut self) -> Result<(), StartError> {
        self.members.sort_by_key(|member| member.id);
        for pair in self.members.windows(2) {
            if pair[0].id == pair[1].id {
                return Err(StartError::BadMember { id: pair[0].id });
            }
        }
        if self.members.first().is_some_and(|first| first.id.0 == 0) {
            return Err(StartError::BadMember { id: ReplicaId(0) });
        }
        if !self.members.iter().any(|member| member.id == self.id) {
            return Err(StartError::NotAMember { id: self.id });
        }
        if !self.joins {
            self.check_witnesses()?;
        }
        self.timing.check().map_err(StartError::Config)
    }

    fn check_witnesses(&mut self) -> Result<(), StartError> {
        for &id in &self.witnesses {
            let named = self.members.iter_mut().find(|member| member.id == id);
            named.ok_or(StartError::NotAMember { id })?.witness = true;
        }
        if self.members.iter().all(|member| member.witness) {
            return Err(StartError::NobodyToLead);
        }
        let id = self.id;
        match (self.witnesses.contains(&id), M::is_witness()) {
            (true, false) => Err(StartError::IsWitness { id }),
            (false, true) => Err(StartError::NoWitness { id }),
            _ => Ok(()),
        }
    }

    fn config(&mut self, identity: &Identity, message_bytes_max: usize) -> Config {
        let mut config = Config::new(identity, GROUP);
        config.timing = self.timing;
        config.leases = self.leases;
        config.seed = random();
        config.witness = M::is_witness();
        config.nearest = std::mem::take(&mut self.nearest);
        config.message_bytes_max = config.message_bytes_max.min(message_bytes_max / 2);
        if let Some(adjust) = self.adjust.take() {
            adjust(&mut config);
        }
        config
    }

    fn take_storage(&mut self) -> Result<Box<dyn Storage>, StartError> {
        if let Some(storage) = self.storage.take() {
            return Ok(storage);
        }
        let dir = self.data_dir.clone();
        let dir = dir.unwrap_or_else(|| format!("little-raft-{}", self.id).into());
        #[cfg(feature = "wal")]
        {
            Ok(Box::new(match M::is_witness() {
                true => crate::wal::WalStorage::for_witness(dir),
                false => crate::wal::WalStorage::new(dir),
            }))
        }
        #[cfg(not(feature = "wal"))]
        {
            let _ = dir;
            Err(StartError::LeftOut("storage (feature `wal`)"))
        }
    }

    fn take_cluster(
        &mut self,
        identity: &Identity,
        is_recovered: bool,
    ) -> Result<Box<dyn Cluster>, StartError> {
        if let Some(cluster) = self.cluster.take() {
            return Ok(cluster);
        }
        let addresses: BTreeMap<ReplicaId, String> = self
            .members
            .iter()
            // Those of before are not even dialed.
            .filter(|member| !is_recovered || member.id == self.id)
            .map(|member| (member.id, member.address.clone()))
            .collect();
        #[cfg(feature = "net")]
        {
            let listen = self.listen.as_ref().unwrap_or(&addresses[&self.id]);
            let cluster = crate::tcp::TcpCluster::bind(listen, identity, addresses.clone())
                .map_err(StartError::Cluster)?;
            Ok(Box::new(cluster))
        }
        #[cfg(not(feature = "net"))]
        {
            let _ = (identity, addresses);
            Err(StartError::LeftOut("cluster (feature `net`)"))
        }
    }
}

/// The cluster's identity: a hash of its token and its founders, the same on every replica.
pub fn cluster_id(token: &str, founders: &[Member]) -> u64 {
    let mut founders: Vec<&Member> = founders.iter().collect();
    founders.sort_by_key(|member| member.id);
    let mut bytes = BytesMut::new();
    token.to_owned().encode(&mut bytes);
    for member in founders {
        member.id.encode(&mut bytes);
        member.address.encode(&mut bytes);
        if member.witness {
            true.encode(&mut bytes);
        }
    }
    // FNV-1a: simple, stable, and spread enough for a name that only guards against mix-ups.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Never zero. The standard library seeds each state from the system's randomness.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}
