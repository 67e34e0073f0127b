//! The etcd v3 API over gRPC, and a little HTTP, on one port.

mod cluster;
mod http;
mod kv;
mod maintenance;
pub mod status;

use std::sync::Arc;

use axum::Router;
use little_raft::core::ReplicaId;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::engine::Engine;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::proto::etcdserverpb::{Member, ResponseHeader};
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
    /// Names the cluster in every header.
    pub cluster: u64,
    /// This replica.
    pub id: ReplicaId,
    /// Everybody, in the order of their ids.
    pub members: Vec<Member>,
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
        // Method by method, so that what is missing gets an answer that says so.
        let mut router = Router::new()
            .route_service("/etcdserverpb.Cluster/MemberList", cluster)
            .route_service("/etcdserverpb.Maintenance/Status", maintenance);
        for method in ["Range", "Put", "DeleteRange", "Txn", "Compact"] {
            router = router.route_service(&format!("/etcdserverpb.KV/{method}"), kv.clone());
        }
        http::add(router, self)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster,
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
