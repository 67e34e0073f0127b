//! What a witness answers: how it stands. Whoever wants data is sent on.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use little_raft::core::ReplicaId;
use little_raft::{Replica, Status as ReplicaStatus};
use tonic::{Request, Response, Status};

use super::maintenance::standing;
use super::{backup, http};
use crate::proto::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use crate::proto::etcdserverpb::{
    MoveLeaderRequest, MoveLeaderResponse, ResponseHeader, SnapshotRequest, StatusRequest,
    StatusResponse,
};

/// How its refusal begins: nothing was done, and another may be asked.
pub const NO_DATA: &str = "etcdserver: this member is a witness and has no data";

/// What answers for a witness.
pub struct Witness {
    /// It.
    pub replica: Replica<little_raft::Witness>,
    /// What it knows others to be called.
    pub names: BTreeMap<ReplicaId, String>,
}

#[tonic::async_trait]
impl Maintenance for Witness {
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let status = self.status();
        let header = ResponseHeader {
            cluster_id: self.replica.cluster_id(),
            member_id: status.id.0,
            revision: 0,
            raft_term: status.term,
        };
        Ok(Response::new(StatusResponse {
            is_witness: true,
            ..standing(&status, header)
        }))
    }

    type SnapshotStream = backup::Pieces;

    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(self.no_data())
    }

    async fn move_leader(
        &self,
        _request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        Err(self.no_data())
    }
}

impl Witness {
    /// Every service and page, ready to be served.
    pub fn router(self: Arc<Self>) -> Router {
        let maintenance = MaintenanceServer::from_arc(Arc::clone(&self));
        let path = "/etcdserverpb.Maintenance/Status";
        http::add_to_witness(Router::new().route_service(path, maintenance), self)
    }

    /// How it stands.
    pub fn status(&self) -> ReplicaStatus {
        self.replica.status()
    }

    /// The refusal of all that takes data.
    pub fn no_data(&self) -> Status {
        let status = self.status();
        let leader = status
            .leader
            .and_then(|leader| status.members.iter().find(|it| it.id == leader));
        let text = match leader {
            None => format!("{NO_DATA}: ask another one; no leader is known"),
            Some(leader) => {
                let named = self.names.get(&leader.id).map(|name| format!("{name}, "));
                let (named, id) = (named.unwrap_or_default(), leader.id.0);
                let peers_at = &leader.address;
                format!(
                    "{NO_DATA}: ask another one, like the leader, {named}{id:x}, which peers reach at http://{peers_at}"
                )
            }
        };
        Status::unavailable(text)
    }
}
