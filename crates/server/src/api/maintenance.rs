//! The Maintenance service, as far as it goes: how this replica stands.

use tonic::{Request, Response, Status};

use super::{Api, ETCD_VERSION};
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{StatusRequest, StatusResponse};

#[tonic::async_trait]
impl Maintenance for Api {
    /// Answers from what this replica knows by itself: it must work when nothing else does.
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let status = self.engine.status();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        Ok(Response::new(StatusResponse {
            header: Some(self.header(self.reader.revision())),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(self.reader.file_bytes()),
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.last,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors,
            db_size_in_use: signed(self.reader.bytes()),
            is_learner: false,
        }))
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
