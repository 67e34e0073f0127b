//! The Maintenance service, as far as it goes: how this replica stands, a copy of its store, and handing leadership over.

use little_raft::core::{ReplicaId, Role, State};
use tonic::{Request, Response, Status};

use super::{Api, ETCD_VERSION, backup, status};
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{
    MoveLeaderRequest, MoveLeaderResponse, ResponseHeader, SnapshotRequest, StatusRequest,
    StatusResponse,
};

#[tonic::async_trait]
impl Maintenance for Api {
    /// Answers from what this replica knows by itself: it must work when nothing else does.
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let status = self.engine.status();
        let header = self.header(self.reader.revision());
        Ok(Response::new(StatusResponse {
            db_size: signed(self.reader.file_bytes()),
            raft_applied_index: status.applied,
            db_size_in_use: signed(self.reader.bytes()),
            ..standing(&status, header)
        }))
    }

    type SnapshotStream = backup::Pieces;

    /// Of what this replica has applied: it must work when nothing else does.
    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let view = self.reader.view().map_err(backup::unreadable)?;
        let header = self.header(view.revision());
        Ok(Response::new(backup::pieces(view, header)))
    }

    /// Only the leader does it, as in etcd.
    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let to = ReplicaId(request.into_inner().target_id);
        let now = self.engine.status();
        if now.state != State::Leader {
            return Err(status::not_leader());
        }
        match now.members.iter().find(|it| it.id == to) {
            Some(member) if member.witness => return Err(status::witness_cant_lead()),
            Some(member) if member.role == Some(Role::Voter) => {}
            _ => return Err(status::bad_transferee()),
        }
        self.engine.move_leader(to).await?;
        Ok(Response::new(MoveLeaderResponse {
            header: Some(self.header(self.reader.revision())),
        }))
    }
}

/// How a replica stands, with or without data.
pub(super) fn standing(status: &little_raft::Status, header: ResponseHeader) -> StatusResponse {
    let mut errors = Vec::new();
    if status.leader.is_none() {
        errors.push("etcdserver: no leader".to_owned());
    }
    StatusResponse {
        header: Some(header),
        version: ETCD_VERSION.to_owned(),
        leader: status.leader.map_or(0, |leader| leader.0),
        raft_index: status.last,
        raft_term: status.term,
        errors,
        is_learner: is_learner(status),
        ..StatusResponse::default()
    }
}

/// Whether it doesn't vote yet, as far as it knows.
fn is_learner(status: &little_raft::Status) -> bool {
    let own = status.members.iter().find(|it| it.id == status.id);
    own.is_some_and(|own| own.role == Some(Role::Learner))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
