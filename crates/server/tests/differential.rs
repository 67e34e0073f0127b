//! One script to a real etcd and to us: the answers must be the same, ids and terms aside.
//!
//! `LITTLE_RAFT_ETCD` names etcd's binary (`.ci/install-etcd` prints it); without it the test says that it is skipped.

mod bound;
mod common;

use std::path::Path;

use bytes::Bytes;
use common::Server;
use little_raft_server::proto::etcdserverpb::compare::TargetUnion;
use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use little_raft_server::proto::etcdserverpb::request_op::Request;
use little_raft_server::proto::etcdserverpb::response_op::Response;
use little_raft_server::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest,
};
use tonic::Status;
use tonic::transport::Channel;

#[derive(Clone, Debug)]
enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
}

async fn answer(client: &mut KvClient<Channel>, step: Step) -> String {
    let answer = match step {
        Step::Range(request) => client.range(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            blank(&mut answer.header);
            format!("{answer:?}")
        }),
        Step::Put(request) => client.put(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            blank(&mut answer.header);
            format!("{answer:?}")
        }),
        Step::Delete(request) => client.delete_range(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            blank(&mut answer.header);
            format!("{answer:?}")
        }),
        Step::Txn(request) => client.txn(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            blank(&mut answer.header);
            blank_all(&mut answer.responses);
            format!("{answer:?}")
        }),
        Step::Compact(request) => client.compact(request).await.map(|answer| {
            let mut answer = answer.into_inner();
            blank(&mut answer.header);
            format!("{answer:?}")
        }),
    };
    answer.unwrap_or_else(|status: Status| format!("{:?}: {}", status.code(), status.message()))
}

fn blank(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

fn blank_all(responses: &mut [ResponseOp]) {
    for response in responses {
        match &mut response.response {
            Some(Response::ResponseRange(response)) => blank(&mut response.header),
            Some(Response::ResponsePut(response)) => blank(&mut response.header),
            Some(Response::ResponseDeleteRange(response)) => blank(&mut response.header),
            Some(Response::ResponseTxn(response)) => {
                blank(&mut response.header);
                blank_all(&mut response.responses);
            }
            None => {}
        }
    }
}

/// Runs the steps on both, and lists every difference.
fn compare(name: &str, steps: Vec<Step>) {
    let Some(etcd) = std::env::var_os("LITTLE_RAFT_ETCD") else {
        println!(
            "{name}: skipped, for LITTLE_RAFT_ETCD names no etcd; .ci/install-etcd prints one"
        );
        return;
    };
    let (etcd, ours) = (Server::etcd(Path::new(&etcd)), Server::ours());
    let differences = bound::block_on(async {
        let (mut etcd, mut ours) = (etcd.kv().await, ours.kv().await);
        let mut differences = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let theirs = answer(&mut etcd, step.clone()).await;
            let mine = answer(&mut ours, step.clone()).await;
            if theirs != mine {
                let mut step = format!("{step:?}");
                step.truncate(2000);
                differences.push(format!(
                    "step {number}: {step}\n  etcd: {theirs}\n  ours: {mine}"
                ));
            }
        }
        differences
    });
    let first = &differences[..differences.len().min(5)];
    assert!(
        differences.is_empty(),
        "{name}: {} differences\n{}",
        differences.len(),
        first.join("\n")
    );
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..PutRequest::default()
    }
}

fn put(key: &str, value: &str) -> Step {
    Step::Put(put_request(key, value))
}

fn range_request(key: &str, end: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        ..RangeRequest::default()
    }
}

fn range(key: &str, end: &str) -> Step {
    Step::Range(range_request(key, end))
}

fn delete_request(key: &str, end: &str, prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        prev_kv,
    }
}

fn compact(revision: i64) -> Step {
    Step::Compact(CompactionRequest {
        revision,
        physical: revision % 2 == 0,
    })
}

fn ops(requests: Vec<Request>) -> Vec<RequestOp> {
    requests
        .into_iter()
        .map(|request| RequestOp {
            request: Some(request),
        })
        .collect()
}

fn txn_request(compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    TxnRequest {
        compare,
        success: ops(success),
        failure: ops(failure),
    }
}

fn txn(success: Vec<Request>) -> Step {
    Step::Txn(txn_request(vec![], success, vec![]))
}

fn put_op(key: &str) -> Request {
    Request::RequestPut(put_request(key, "txn"))
}

fn delete_op(key: &str, end: &str) -> Request {
    Request::RequestDeleteRange(delete_request(key, end, true))
}

fn either_op(success: Vec<Request>, failure: Vec<Request>) -> Request {
    Request::RequestTxn(txn_request(vec![], success, failure))
}

#[test]
fn puts_and_ranges() {
    let mut steps = vec![range("a", ""), range("\0", "\0")];
    for key in ["b", "a", "ab", "c", "a", "a\u{7f}", "b"] {
        steps.push(put(key, &format!("value {}", steps.len())));
    }
    for (key, end) in [
        ("a", ""),
        ("a", "b"),
        ("a", "c"),
        ("b", "a"),
        ("b", "b"),
        ("b", "\0"),
        ("\0", "\0"),
        ("x", ""),
    ] {
        steps.push(range(key, end));
        for revision in [-1, 1, 2, 5, 8, 9] {
            let request = range_request(key, end);
            steps.push(Step::Range(RangeRequest {
                revision,
                ..request
            }));
        }
    }
    // Unknown orders and targets are left out: 3.5.1 panics on them, and later versions refuse them.
    for sort_order in 0..3 {
        for sort_target in 0..5 {
            for limit in [-1, 0, 1, 2, 100] {
                // etcd cuts before it sorts here; sorting first is what its documentation promises.
                if sort_order == 0 && sort_target > 0 && limit > 0 {
                    continue;
                }
                let request = range_request("\0", "\0");
                steps.push(Step::Range(RangeRequest {
                    sort_order,
                    sort_target,
                    limit,
                    ..request
                }));
            }
        }
    }
    for flags in 0..64 {
        let flag = |bit: i32| flags & (1 << bit) != 0;
        let request = RangeRequest {
            keys_only: flag(0),
            count_only: flag(1),
            serializable: flag(2),
            min_mod_revision: if flag(3) { 4 } else { 0 },
            max_mod_revision: if flag(4) { 6 } else { 0 },
            max_create_revision: if flag(5) { 3 } else { 0 },
            min_create_revision: if flag(5) { 2 } else { 0 },
            limit: 2,
            ..range_request("\0", "\0")
        };
        steps.push(Step::Range(request));
    }
    compare("puts and ranges", steps);
}

#[test]
fn puts_and_deletes_with_options() {
    let request = put_request("a", "1");
    let ignore_value = PutRequest {
        ignore_value: true,
        ..put_request("a", "")
    };
    let steps = vec![
        Step::Put(ignore_value.clone()),
        Step::Put(PutRequest {
            ignore_lease: true,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            prev_kv: true,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            prev_kv: true,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            ignore_value: true,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            ignore_lease: true,
            lease: 5,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            lease: 5,
            ..request.clone()
        }),
        Step::Put(PutRequest {
            prev_kv: true,
            ..ignore_value
        }),
        Step::Put(PutRequest {
            ignore_lease: true,
            ..request
        }),
        range("a", ""),
        put("", "x"),
        put("empty value", ""),
        range("empty value", ""),
        Step::Delete(delete_request("", "", false)),
        Step::Delete(delete_request("", "\0", false)),
        range("", ""),
        Step::Delete(delete_request("missing", "", true)),
        put("b", "2"),
        Step::Delete(delete_request("b", "a", true)),
        Step::Delete(delete_request("a", "c", true)),
        Step::Delete(delete_request("a", "c", true)),
        put("a", "again"),
        range("a", ""),
        Step::Delete(delete_request("\0", "\0", false)),
        range("\0", "\0"),
    ];
    compare("puts and deletes with options", steps);
}

#[test]
fn compactions() {
    let mut steps = vec![compact(0), compact(-1), compact(1), compact(2)];
    for n in 0..8 {
        steps.push(put(["a", "b"][n % 2], &n.to_string()));
    }
    steps.push(Step::Delete(delete_request("a", "", false)));
    for revision in [3, 3, 2, 0, 99, 8, 9, 10, 11] {
        steps.push(compact(revision));
        for at in 0..12 {
            let request = range_request("\0", "\0");
            steps.push(Step::Range(RangeRequest {
                revision: at,
                ..request
            }));
        }
    }
    steps.push(txn(vec![
        put_op("c"),
        Request::RequestRange(RangeRequest {
            revision: 3,
            ..range_request("a", "")
        }),
    ]));
    steps.push(txn(vec![
        put_op("c"),
        Request::RequestRange(RangeRequest {
            revision: 99,
            ..range_request("a", "")
        }),
    ]));
    steps.push(txn(vec![Request::RequestRange(RangeRequest {
        revision: 3,
        ..range_request("a", "")
    })]));
    steps.push(range("\0", "\0"));
    steps.push(put("a", "back"));
    steps.push(range("a", ""));
    compare("compactions", steps);
}

#[test]
fn transactions_rules() {
    let range_op = |key: &str| Request::RequestRange(range_request(key, "\0"));
    let ignoring = |key: &str| {
        Request::RequestPut(PutRequest {
            ignore_value: true,
            ..put_request(key, "")
        })
    };
    let leased = Request::RequestPut(PutRequest {
        lease: 9,
        ..put_request("l", "x")
    });
    let many = |count: usize| {
        (0..count)
            .map(|n| put_op(&format!("many{n}")))
            .collect::<Vec<_>>()
    };
    let steps = vec![
        Step::Txn(TxnRequest::default()),
        txn(vec![put_op("a"), put_op("b"), range_op("a")]),
        txn(vec![put_op("a"), put_op("a")]),
        txn(vec![put_op("a"), delete_op("a", "")]),
        txn(vec![put_op("a"), delete_op("b", "c")]),
        txn(vec![delete_op("a", "\0"), range_op("a")]),
        txn(vec![put_op("a"), range_op("a"), put_op("b"), range_op("a")]),
        txn(vec![delete_op("a", "z"), delete_op("b", "")]),
        txn(vec![put_op("")]),
        txn(vec![range_op("")]),
        txn(vec![delete_op("", "x")]),
        Step::Txn(TxnRequest {
            success: vec![RequestOp { request: None }],
            ..TxnRequest::default()
        }),
        txn(vec![put_op("x"), ignoring("missing")]),
        txn(vec![put_op("x"), leased.clone()]),
        range("x", ""),
        txn(vec![
            either_op(vec![put_op("n")], vec![put_op("n")]),
            range_op("a"),
        ]),
        txn(vec![either_op(vec![put_op("n")], vec![]), put_op("n")]),
        txn(vec![
            either_op(vec![put_op("n")], vec![]),
            either_op(vec![put_op("n")], vec![]),
        ]),
        txn(vec![either_op(
            vec![delete_op("n", "o")],
            vec![put_op("n")],
        )]),
        txn(vec![
            either_op(vec![delete_op("n", "o")], vec![]),
            put_op("n"),
        ]),
        txn(vec![
            delete_op("n", "o"),
            either_op(vec![put_op("n")], vec![]),
        ]),
        txn(vec![
            delete_op("n", "o"),
            either_op(vec![], vec![put_op("n")]),
        ]),
        txn(vec![
            either_op(vec![put_op("n")], vec![]),
            either_op(vec![delete_op("n", "o")], vec![]),
        ]),
        range("\0", "\0"),
        txn(vec![either_op(
            vec![
                put_op("deep"),
                either_op(vec![range_op("a"), put_op("deeper")], vec![]),
            ],
            vec![],
        )]),
        txn(vec![
            either_op(vec![ignoring("missing")], vec![]),
            put_op("x"),
        ]),
        txn(vec![either_op(vec![range_op("a")], vec![]), range_op("a")]),
        txn(many(128)),
        txn(many(129)),
        txn(vec![either_op(many(127), vec![])]),
        txn(vec![either_op(many(128), vec![])]),
        Step::Txn(txn_request(vec![Compare::default()], vec![], vec![])),
        Step::Txn(txn_request(
            (0..129).map(|_| Compare::default()).collect(),
            vec![],
            vec![],
        )),
        range("\0", "\0"),
    ];
    compare("transactions", steps);
}

#[test]
fn compares() {
    let mut steps = vec![put("a", "m"), put("a", "m"), put("b", "x"), put("c", "m")];
    let unions = [
        None,
        Some(TargetUnion::Version(1)),
        Some(TargetUnion::CreateRevision(2)),
        Some(TargetUnion::ModRevision(3)),
        Some(TargetUnion::Value(Bytes::from_static(b"m"))),
        Some(TargetUnion::Value(Bytes::new())),
        Some(TargetUnion::Lease(0)),
        Some(TargetUnion::Lease(1)),
    ];
    for (key, end) in [
        ("a", ""),
        ("missing", ""),
        ("a", "z"),
        ("a", "\0"),
        ("x", "z"),
    ] {
        for target in 0..6 {
            for result in 0..5 {
                for target_union in &unions {
                    let compare = Compare {
                        result,
                        target,
                        key: bytes(key),
                        range_end: bytes(end),
                        target_union: target_union.clone(),
                    };
                    steps.push(Step::Txn(txn_request(vec![compare], vec![], vec![])));
                }
            }
        }
    }
    compare("compares", steps);
}

#[test]
fn requests_over_the_limit() {
    let steps = vec![
        put("big", &"x".repeat(1_572_864 - 100)),
        put("big", &"x".repeat(1_600_000)),
        put("big", &"x".repeat(2_500_000)),
        txn(vec![Request::RequestPut(put_request(
            "big",
            &"x".repeat(1_600_000),
        ))]),
        Step::Range(RangeRequest {
            keys_only: true,
            ..range_request("big", "")
        }),
    ];
    compare("requests over the limit", steps);
}

/// A small generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn key(&mut self) -> String {
        ["a", "b", "c", "d", "ab", "bc"][self.below(6) as usize].into()
    }

    fn range(&mut self) -> RangeRequest {
        let (key, end) = (
            self.key(),
            if self.flip() {
                self.key()
            } else {
                String::new()
            },
        );
        RangeRequest {
            revision: if self.below(4) == 0 {
                self.below(60) as i64
            } else {
                0
            },
            limit: self.below(4) as i64,
            sort_order: 1 + self.below(2) as i32,
            sort_target: self.below(5) as i32,
            keys_only: self.below(5) == 0,
            ..range_request(&key, &end)
        }
    }

    fn put(&mut self) -> PutRequest {
        let (key, value) = (self.key(), self.below(9).to_string());
        let ignore_value = self.below(6) == 0;
        let value = if ignore_value { "" } else { &value };
        PutRequest {
            prev_kv: self.flip(),
            ignore_value,
            ..put_request(&key, value)
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, end) = (
            self.key(),
            if self.below(3) == 0 {
                self.key()
            } else {
                String::new()
            },
        );
        delete_request(&key, &end, self.flip())
    }

    fn txn(&mut self, depth: u64) -> TxnRequest {
        let compare = Compare {
            result: self.below(4) as i32,
            target: 1,
            key: bytes(&self.key()),
            target_union: Some(TargetUnion::CreateRevision(self.below(40) as i64)),
            ..Compare::default()
        };
        let compares = if self.flip() { vec![compare] } else { vec![] };
        let mut branch = || {
            let count = self.below(4);
            (0..count)
                .map(|_| match self.below(if depth == 0 { 5 } else { 4 }) {
                    0 => Request::RequestRange(self.range()),
                    1 | 2 => Request::RequestPut(self.put()),
                    3 => Request::RequestDeleteRange(self.delete()),
                    _ => Request::RequestTxn(self.txn(depth + 1)),
                })
                .collect()
        };
        let (success, failure) = (branch(), branch());
        txn_request(compares, success, failure)
    }
}

#[test]
fn random_requests() {
    let mut random = Random(0x5eed_0001);
    let mut steps = Vec::new();
    for _ in 0..1500 {
        steps.push(match random.below(10) {
            0..3 => Step::Put(random.put()),
            3 => Step::Delete(random.delete()),
            4..8 => Step::Txn(random.txn(0)),
            8 if random.below(8) == 0 => compact(random.below(60) as i64),
            _ => Step::Range(random.range()),
        });
    }
    steps.push(range("\0", "\0"));
    compare("random requests", steps);
}
