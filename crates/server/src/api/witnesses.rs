//! Members that only vote: how one is added. A service of our own, as etcd has none.

use tonic::{Request, Response, Status};

use super::Api;
use super::cluster::Part;
use super::status;
use crate::proto::etcdserverpb::MemberAddResponse;
use crate::proto::group::AddWitnessRequest;
use crate::proto::group::witnesses_server::Witnesses;

#[tonic::async_trait]
impl Witnesses for Api {
    async fn add(
        &self,
        request: Request<AddWitnessRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let AddWitnessRequest { name, peer_urls } = self.admit(request)?;
        if name.is_empty() {
            return Err(status::unnamed_witness());
        }
        let added = Api::add(self, &peer_urls, Part::Witness(name)).await?;
        Ok(Response::new(added))
    }
}
