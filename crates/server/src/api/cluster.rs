//! The Cluster service, as far as it goes: who belongs.

use tonic::{Request, Response, Status};

use super::Api;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::{MemberListRequest, MemberListResponse};

#[tonic::async_trait]
impl Cluster for Api {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let request = self.admit(request)?;
        if request.linearizable {
            self.engine.barrier().await?;
        }
        Ok(Response::new(MemberListResponse {
            // As in etcd, whose member changes take no revision.
            header: Some(self.header(0)),
            members: self.members.clone(),
        }))
    }
}
