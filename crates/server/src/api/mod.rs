//! The etcd v3 API over gRPC, and a little HTTP, on one port.

mod backup;
mod cluster;
mod http;
mod kv;
mod maintenance;
mod members;
mod reconfiguration;
pub mod status;
mod timing;
pub mod witness;
mod witnesses;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use little_raft::core::ReplicaId;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::engine::Engine;
use crate::proto::command::MemberAttributes;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::proto::group::timing_server::TimingServer;
use crate::proto::group::witnesses_server::WitnessesServer;
use crate::store::Reader;

/// What etcd's transport allows above its request limit.
const TRANSPORT_SLACK_BYTES: usize = 512 << 10;

/// The version that clients are told: some ask for a minimum before they use a feature.
pub const ETCD_VERSION: &str = "3.6.0";

/// What answers requests. One for a process, shared by all connections.
pub struct Api {
    /// The replica.
    pub engine: Engine,
    /// Its store.
    pub reader: Reader,
    /// This replica.
    pub id: ReplicaId,
    /// What is known of members before they have said it themselves: of the founders, and of this one.
    pub known: BTreeMap<u64, MemberAttributes>,
    /// The cluster's token: ids of new members are made with it.
    pub token: String,
    /// Writes are refused when the store holds so many bytes.
    pub quota_bytes: u64,
    /// The largest request.
    pub request_bytes_max: usize,
}

impl Api {
    /// Every service and page, ready to be served.
    pub fn router(self: Arc<Self>) -> Router {
        let message_bytes_max = self.request_bytes_max + TRANSPORT_SLACK_BYTES;
        let kv = KvServer::from_arc(Arc::clone(&self)).max_decoding_message_size(message_bytes_max);
        let cluster = ClusterServer::from_arc(Arc::clone(&self));
        let maintenance = MaintenanceServer::from_arc(Arc::clone(&self));
        let timing = TimingServer::from_arc(Arc::clone(&self));
        // Method by method, so that what is missing gets an answer that says so.
        let mut router = Router::new();
        for method in ["Get", "Set"] {
            let path = format!("/little_raft_group.Timing/{method}");
            router = router.route_service(&path, timing.clone());
        }
        let witnesses = WitnessesServer::from_arc(Arc::clone(&self));
        router = router.route_service("/little_raft_group.Witnesses/Add", witnesses);
        for method in ["Add", "Remove", "Update", "List", "Promote"] {
            let path = format!("/etcdserverpb.Cluster/Member{method}");
            router = router.route_service(&path, cluster.clone());
        }
        for method in ["Status", "Snapshot", "MoveLeader"] {
            let path = format!("/etcdserverpb.Maintenance/{method}");
            router = router.route_service(&path, maintenance.clone());
        }
        for method in ["Range", "Put", "DeleteRange", "Txn", "Compact"] {
            router = router.route_service(&format!("/etcdserverpb.KV/{method}"), kv.clone());
        }
        http::add(router, self)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.engine.cluster_id(),
            member_id: self.id.0,
            revision,
            raft_term: self.engine.status().term,
        }
    }

    /// Fills what the store left open.
    fn complete(&self, header: Option<ResponseHeader>) -> Option<ResponseHeader> {
        Some(self.header(header.map_or(0, |header| header.revision)))
    }

    /// A client may ask to be refused at once when there is no leader.
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        if asks_for_leader(request.metadata()) && self.engine.status().leader.is_none() {
            return Err(status::no_leader());
        }
        Ok(request.into_inner())
    }
}

fn asks_for_leader(metadata: &MetadataMap) -> bool {
    metadata
        .get("hasleader")
        .is_some_and(|value| value == "true")
}
