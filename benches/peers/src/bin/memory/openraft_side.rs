//! Three openraft replicas in this process: log and network in memory, each as light as its traits allow, with the
//! settings of openraft's own `minimal` benchmark.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use openraft::alias::{
    DefaultEntryOf, EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, EntryPayload, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory, RaftNetworkV2,
    RaftSnapshotBuilder, RaftTypeConfig, impls,
};

use crate::Client;

/// The types openraft wants to be told, those of its own benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Nothing;
    type R = Nothing;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Nothing, u64, ()>;
    type Entry = DefaultEntryOf<Self>;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T: OptionalSend + 'static> = impls::OneshotResponder<Self, T>;
    type Batch<T: OptionalSend + 'static> = impls::InlineBatch<T>;
    type ErrorSource = openraft::AnyError;
}

/// A command, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

type Replica = Raft<Types, Machine>;

/// The group; its first replica leads.
pub struct Group {
    replicas: Vec<Replica>,
}

impl Group {
    pub async fn start() -> Self {
        let config = Config {
            // Ten times as long as there: on two busy cores it loses its leader otherwise.
            election_timeout_min: 2000,
            election_timeout_max: 4000,
            purge_batch_size: 1024,
            max_payload_entries: 1024,
            ..Config::default()
        };
        let config = Arc::new(
            config
                .validate()
                .expect("these settings are openraft's own"),
        );
        let hub = Hub::default();
        let mut replicas = Vec::new();
        for id in 0..3 {
            let replica = Raft::new(
                id,
                config.clone(),
                hub.clone(),
                Log::default(),
                Machine::default(),
            );
            let replica = replica.await.expect("it starts");
            hub.replicas.lock().unwrap().insert(id, replica.clone());
            replicas.push(replica);
        }
        let members: BTreeMap<u64, ()> = (0..3).map(|id| (id, ())).collect();
        replicas[0].initialize(members).await.expect("it is new");
        let wait = replicas[0].wait(Some(Duration::from_secs(20)));
        wait.current_leader(0, "it leads").await.expect("in time");
        // It takes writes once a majority has answered it.
        while replicas[0].client_write(Nothing).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { replicas }
    }

    pub fn leader(&self) -> Leader {
        Leader(self.replicas[0].clone())
    }

    pub async fn stop(self) {
        for replica in self.replicas {
            replica.shutdown().await.expect("it ends");
        }
    }
}

/// A client's way in.
#[derive(Clone)]
pub struct Leader(Replica);

impl Client for Leader {
    async fn write(&self) {
        let written = self.0.client_write(Nothing).await;
        written.expect("nothing disturbs it");
    }
}

/// Everyone's way to everyone.
#[derive(Clone, Default)]
struct Hub {
    replicas: Arc<Mutex<BTreeMap<u64, Replica>>>,
}

/// A call's way to one replica.
struct Link {
    to: Replica,
}

impl RaftNetworkFactory<Types> for Hub {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &()) -> Link {
        let to = self.replicas.lock().unwrap()[&target].clone();
        Link { to }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.to.append_entries(request).await;
        answer.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.to.vote(request).await;
        answer.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.to.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

/// A log that remembers nothing after the process.
#[derive(Clone, Default)]
struct Log {
    inner: Arc<Mutex<LogInner>>,
}

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    /// Without gaps, beginning after `purged`.
    entries: VecDeque<EntryOf<Types>>,
}

impl LogInner {
    fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn place(&self, index: u64) -> usize {
        let place = index.saturating_sub(self.first()) as usize;
        place.min(self.entries.len())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let (from, to) = (inner.place(from), inner.place(to));
        Ok(inner.entries.range(from..to.max(from)).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.inner.lock().unwrap().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let last = inner.entries.back().map(|entry| entry.log_id());
        Ok(LogState {
            last_purged_log_id: inner.purged,
            last_log_id: last.or(inner.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.inner.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.inner.lock().unwrap().entries.extend(entries);
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let keep = inner.place(last.map_or(0, |last| last.index + 1));
        inner.entries.truncate(keep);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let gone = inner.place(upto.index + 1);
        inner.entries.drain(..gone);
        inner.purged = Some(upto);
        Ok(())
    }
}

/// A machine that knows only how far it is.
#[derive(Clone, Default)]
struct Machine {
    inner: Arc<Mutex<MachineInner>>,
}

#[derive(Default)]
struct MachineInner {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<SnapshotMetaOf<Types>>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let inner = self.inner.lock().unwrap();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut inner = self.inner.lock().unwrap();
            inner.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                inner.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
            }
            drop(inner);
            if let Some(responder) = responder {
                responder.send(Nothing);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        _: (),
    ) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let meta = inner.snapshot.clone();
        Ok(meta.map(|meta| SnapshotOf::<Types, ()> { meta, snapshot: () }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: inner.applied,
            last_membership: inner.membership.clone(),
        };
        inner.snapshot = Some(meta.clone());
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}
