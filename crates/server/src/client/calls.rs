//! Asking, and printing the answer.

use tonic::Response;

use super::endpoints::plain;
use super::{
    ClientError, DeleteRangeRequest, Endpoints, Kind, Printer, PutRequest, RangeRequest,
    StatusRequest, TxnRequest,
};
use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;

pub async fn put(
    endpoints: &Endpoints,
    request: PutRequest,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let call = |channel| {
        let request = plain(&request);
        async move {
            KvClient::new(channel)
                .put(request)
                .await
                .map(Response::into_inner)
        }
    };
    printer.put(&endpoints.first(Kind::Write, call).await?)
}

pub async fn get(
    endpoints: &Endpoints,
    request: RangeRequest,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let call = |channel| {
        let request = plain(&request);
        // The limit protects from strangers; this server was chosen by whoever asks.
        let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
        async move { client.range(request).await.map(Response::into_inner) }
    };
    printer.get(&endpoints.first(Kind::Read, call).await?)
}

pub async fn del(
    endpoints: &Endpoints,
    request: DeleteRangeRequest,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let call = |channel| {
        let request = plain(&request);
        let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
        async move { client.delete_range(request).await.map(Response::into_inner) }
    };
    printer.del(&endpoints.first(Kind::Write, call).await?)
}

pub async fn txn(
    endpoints: &Endpoints,
    request: TxnRequest,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let call = |channel| {
        let request = plain(&request);
        let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
        async move { client.txn(request).await.map(Response::into_inner) }
    };
    printer.txn(&endpoints.first(Kind::Write, call).await?)
}

pub async fn status(endpoints: &Endpoints, printer: &mut Printer) -> Result<(), ClientError> {
    let call = |channel| async move {
        let answer = MaintenanceClient::new(channel)
            .status(StatusRequest {})
            .await;
        answer.map(Response::into_inner)
    };
    let (mut answered, mut failed) = (Vec::new(), Vec::new());
    for (endpoint, answer) in endpoints.each(call).await {
        match answer {
            Ok(answer) => answered.push((endpoint, answer)),
            Err(reason) => failed.push(format!("{endpoint}: {reason}")),
        }
    }
    printer.status(&answered)?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(ClientError::Unreachable(failed.join("; ")))
    }
}
