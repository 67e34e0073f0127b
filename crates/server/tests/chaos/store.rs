//! The servers as registers: calls in etcd's API.

use std::time::Duration;

use bytes::Bytes;
use little_raft_history::{Call, Held};
use little_raft_server::demo::client::{Client, Outcome, timed};
use little_raft_server::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use little_raft_server::proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, ResponseOp, TxnRequest, request_op, response_op,
};
use little_raft_server::proto::mvccpb::KeyValue;
use tonic::Status;
use tonic::transport::Channel;

/// What is written: a number, and for some of them a tail that is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub u64);

impl Value {
    /// Some are long, so that logs and snapshots grow.
    pub fn bytes(self) -> Bytes {
        let tail = match self.0 % 16 {
            0 => 8 << 10,
            1..4 => 200,
            _ => 0,
        };
        let mut bytes = format!("{} ", self.0).into_bytes();
        let digit = b'a' + (self.0 % 26) as u8;
        bytes.resize(bytes.len() + tail, digit);
        bytes.into()
    }

    fn read(bytes: &[u8]) -> Self {
        let number = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|it| it.parse().ok());
        let value = number.map(Self).filter(|value| value.bytes() == bytes);
        value.unwrap_or_else(|| panic!("a value that nobody wrote: {}", bytes.escape_ascii()))
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With what the register held before, if it says.
    Done(Option<Held>),
    NotDone,
    Unknown,
}

pub struct Store {
    kv: KvClient<Channel>,
    patience: Duration,
}

impl Store {
    pub fn new(client: Client, patience: Duration) -> Self {
        Self {
            kv: KvClient::new(client.channel()),
            patience,
        }
    }

    /// A put may be asked to say what it replaced.
    pub async fn call(&mut self, key: &str, call: Call, says_what_was: bool) -> Answer {
        let answer = match call {
            Call::Get => self.get(key).await.map(Some),
            Call::Put { value } => self.put(key, Value(value), says_what_was).await,
            Call::Swap { expected, value } => {
                let swapped = self.swap(key, expected, Value(value));
                swapped.await.map(Some)
            }
        };
        answer.map_or_else(|status| failed(&status), Answer::Done)
    }

    /// Reads what this server has by itself, which may be old.
    pub async fn get_local(&mut self, key: &str) -> Result<Held, Status> {
        let request = RangeRequest {
            serializable: true,
            ..range(key)
        };
        let answer = timed(self.patience, self.kv.range(request)).await?;
        Ok(held(answer.kvs.first()))
    }

    async fn get(&mut self, key: &str) -> Result<Held, Status> {
        let answer = timed(self.patience, self.kv.range(range(key))).await?;
        Ok(held(answer.kvs.first()))
    }

    async fn put(&mut self, key: &str, value: Value, says: bool) -> Result<Option<Held>, Status> {
        let request = PutRequest {
            prev_kv: says,
            ..put(key, value)
        };
        let answer = timed(self.patience, self.kv.put(request)).await?;
        Ok(says.then(|| held(answer.prev_kv.as_ref())))
    }

    async fn swap(&mut self, key: &str, expected: Held, value: Value) -> Result<Held, Status> {
        let request = TxnRequest {
            compare: vec![is(key, expected)],
            success: vec![operation(request_op::Request::RequestPut(put(key, value)))],
            failure: vec![operation(request_op::Request::RequestRange(range(key)))],
        };
        let answer = timed(self.patience, self.kv.txn(request)).await?;
        if answer.succeeded {
            return Ok(expected);
        }
        let Some(ResponseOp {
            response: Some(response_op::Response::ResponseRange(found)),
        }) = answer.responses.first()
        else {
            panic!("a transaction that reads answers otherwise: {answer:?}");
        };
        Ok(held(found.kvs.first()))
    }
}

fn failed(status: &Status) -> Answer {
    match Outcome::of_failed(status) {
        Outcome::Refused | Outcome::Unsent => Answer::NotDone,
        _ => Answer::Unknown,
    }
}

fn held(found: Option<&KeyValue>) -> Held {
    Held(found.map(|kv| Value::read(&kv.value).0))
}

fn is(key: &str, expected: Held) -> Compare {
    let (target, union) = match expected.0 {
        Some(value) => {
            let bytes = Value(value).bytes();
            (CompareTarget::Value, TargetUnion::Value(bytes))
        }
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::new(),
        target_union: Some(union),
    }
}

fn put(key: &str, value: Value) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.bytes(),
        ..PutRequest::default()
    }
}

fn range(key: &str) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..RangeRequest::default()
    }
}

fn operation(request: request_op::Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}
