//! The KV service.

use tonic::{Request, Response, Status};

use super::Api;
use super::status::refused;
use crate::proto::command::command::Kind;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::store::{self, Answer, Page, Refusal};

#[tonic::async_trait]
impl Kv for Api {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let request = self.admit(request)?;
        store::check_range(&request).map_err(refused)?;
        if !request.serializable {
            self.engine.barrier().await?;
        }
        let (Page { kvs, more, count }, revision) = self.reader.range(&request).map_err(refused)?;
        Ok(Response::new(RangeResponse {
            header: Some(self.header(revision)),
            kvs,
            more,
            count,
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = self.admit(request)?;
        store::check_put(&request).map_err(refused)?;
        self.check_quota(store::put_cost(&request))?;
        match self.engine.propose(Kind::Put(request)).await? {
            Answer::Put(response) => {
                let header = self.complete(response.header);
                Ok(Response::new(PutResponse { header, ..response }))
            }
            answer => unreachable!("a put answers as one: {answer:?}"),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = self.admit(request)?;
        store::check_delete_range(&request).map_err(refused)?;
        match self.engine.propose(Kind::DeleteRange(request)).await? {
            Answer::DeleteRange(response) => {
                let header = self.complete(response.header);
                Ok(Response::new(DeleteRangeResponse { header, ..response }))
            }
            answer => unreachable!("a deletion answers as one: {answer:?}"),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = self.admit(request)?;
        store::check_txn(&request).map_err(refused)?;
        let response = if store::reads_only(&request) {
            if !store::serializable(&request) {
                self.engine.barrier().await?;
            }
            self.reader.txn(&request).map_err(refused)?
        } else {
            self.check_quota(store::txn_cost(&request))?;
            match self.engine.propose(Kind::Txn(request)).await? {
                Answer::Txn(response) => response,
                answer => unreachable!("a transaction answers as one: {answer:?}"),
            }
        };
        let header = self.complete(response.header);
        Ok(Response::new(TxnResponse { header, ..response }))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request = self.admit(request)?;
        let (revision, physical) = (request.revision, request.physical);
        match self.engine.propose(Kind::Compact(request)).await? {
            Answer::Compact(response) => {
                if physical {
                    self.cleaned(revision).await?;
                }
                let header = self.complete(response.header);
                Ok(Response::new(CompactionResponse { header }))
            }
            answer => unreachable!("a compaction answers as one: {answer:?}"),
        }
    }
}

impl Api {
    /// Only what may grow the store is refused.
    fn check_quota(&self, cost_bytes: u64) -> Result<(), Status> {
        if cost_bytes > 0 && self.reader.bytes() + cost_bytes > self.quota_bytes {
            return Err(refused(Refusal::NoSpace));
        }
        Ok(())
    }

    async fn cleaned(&self, revision: i64) -> Result<(), Status> {
        let reader = self.reader.clone();
        let waited = tokio::task::spawn_blocking(move || reader.wait_cleaned(revision)).await;
        match waited {
            Ok(true) => Ok(()),
            _ => Err(Status::unavailable("etcdserver: server stopped")),
        }
    }
}
