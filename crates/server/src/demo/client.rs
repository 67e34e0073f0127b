//! One replica as its clients see it.

use std::time::Duration;

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{PutRequest, RangeRequest, StatusRequest, StatusResponse};
use crate::proto::mvccpb::KeyValue;

/// A page of a long range; far from the 4 MiB that a client accepts.
const PAGE_KEYS: i64 = 2_000;
/// A read of many keys gets so long.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one replica, made when it is needed and made again when it broke.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) channel: Channel,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable on a majority, and is this revision.
    Acknowledged {
        /// The store's revision that it made.
        revision: i64,
    },
    /// It was not done, and never will be.
    Refused,
    /// It was never sent: nobody listens there.
    Unsent,
    /// It may or may not have been done: the replica died or fell silent before it answered.
    Unknown {
        /// Whether there was no answer in time.
        timed_out: bool,
    },
}

impl Outcome {
    /// What a failure says of the write that it answers.
    pub fn of_failed(status: &Status) -> Self {
        if is_definite(status) {
            Self::Refused
        } else if never_connected(status) {
            Self::Unsent
        } else {
            let timed_out = status.code() == Code::DeadlineExceeded;
            Self::Unknown { timed_out }
        }
    }
}

impl Client {
    /// Nothing is sent yet. Needs a tokio runtime around it.
    ///
    /// # Panics
    /// If `address` is not `host:port`.
    pub fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("host:port makes a URL")
            .connect_timeout(Duration::from_secs(1));
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// For calls that this has no method for.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Writes one key, once.
    pub async fn put(&self, key: &str, value: &str, timeout: Duration) -> Outcome {
        let request = PutRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..PutRequest::default()
        };
        let mut kv = KvClient::new(self.channel.clone());
        match timed(timeout, kv.put(request)).await {
            Ok(response) => Outcome::Acknowledged {
                revision: response.header.map_or(0, |header| header.revision),
            },
            Err(status) => Outcome::of_failed(&status),
        }
    }

    /// Reads one key linearizably.
    ///
    /// # Errors
    /// What the replica answers instead, or that it didn't within `timeout`.
    pub async fn get(&self, key: &str, timeout: Duration) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..RangeRequest::default()
        };
        let mut kv = KvClient::new(self.channel.clone());
        let answer = timed(timeout, kv.range(request)).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Reads all keys with a prefix in order: as of the newest revision that anybody was told of, or as of a given one.
    /// Returns that revision too.
    ///
    /// # Errors
    /// What the replica answers instead, or that it didn't within ten seconds a page.
    pub async fn get_all(
        &self,
        prefix: &str,
        revision: Option<i64>,
    ) -> Result<(i64, Vec<KeyValue>), Status> {
        let request = all(prefix, revision.unwrap_or(0));
        self.pages(request).await
    }

    /// Reads them from what the replica has by itself, which may be older.
    ///
    /// # Errors
    /// As [`get_all`](Self::get_all).
    pub async fn get_all_local(&self, prefix: &str) -> Result<Vec<KeyValue>, Status> {
        let mut request = all(prefix, 0);
        request.serializable = true;
        Ok(self.pages(request).await?.1)
    }

    async fn pages(&self, mut request: RangeRequest) -> Result<(i64, Vec<KeyValue>), Status> {
        let mut kv = KvClient::new(self.channel.clone());
        let mut found = Vec::new();
        loop {
            let page = timed(READ_TIMEOUT, kv.range(request.clone())).await?;
            if request.revision == 0 {
                request.revision = page.header.map_or(0, |header| header.revision);
            }
            found.extend(page.kvs);
            match found.last() {
                Some(last) if page.more => {
                    request.key = [&last.key[..], &[0]].concat().into();
                }
                _ => return Ok((request.revision, found)),
            }
        }
    }

    /// How the replica stands, from what it knows by itself.
    ///
    /// # Errors
    /// If it doesn't answer within `timeout`.
    pub async fn status(&self, timeout: Duration) -> Result<StatusResponse, Status> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        timed(timeout, maintenance.status(StatusRequest {})).await
    }
}

/// Whether it says that nothing was done and never will be.
fn is_definite(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
        || matches!(
            status.message(),
            "etcdserver: no leader" | "etcdserver: leader changed"
        )
}

fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The answer to a call, which must come in time.
///
/// # Errors
/// What is answered instead, or that nothing was.
pub async fn timed<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

fn all(prefix: &str, revision: i64) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix),
        limit: PAGE_KEYS,
        revision,
        ..RangeRequest::default()
    }
}

/// The first key behind all keys with that prefix, which ends in a character below the last.
fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}
