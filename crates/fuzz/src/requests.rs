//! Any request of a client, with keys that meet each other.

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft_server::proto::command::command::Kind;
use little_raft_server::proto::command::{MemberAttributes, RaiseRevision};
use little_raft_server::proto::etcdserverpb::compare::TargetUnion;
use little_raft_server::proto::etcdserverpb::request_op::Request;
use little_raft_server::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use crate::values::{number, payload, some};

const DEPTH_MAX: usize = 3;

pub fn command(u: &mut Unstructured<'_>) -> Result<Kind> {
    Ok(match u.int_in_range(0..=10)? {
        0 => Kind::DeleteRange(delete(u)?),
        1 => Kind::Compact(CompactionRequest {
            revision: signed(u)?,
            physical: false,
        }),
        2 => Kind::Attributes(MemberAttributes {
            id: number(u)?,
            name: u.arbitrary()?,
            client_urls: some(u, |u| u.arbitrary())?,
        }),
        3 => Kind::RaiseRevision(RaiseRevision { by: number(u)? }),
        4..=6 => Kind::Txn(txn(u)?),
        _ => Kind::Put(put(u)?),
    })
}

pub fn range(u: &mut Unstructured<'_>) -> Result<RangeRequest> {
    Ok(RangeRequest {
        key: key(u)?,
        range_end: end(u)?,
        limit: signed(u)?,
        revision: signed(u)?,
        sort_order: option(u)?,
        sort_target: option(u)?,
        serializable: u.arbitrary()?,
        keys_only: u.arbitrary()?,
        count_only: u.arbitrary()?,
        min_mod_revision: signed(u)?,
        max_mod_revision: signed(u)?,
        min_create_revision: signed(u)?,
        max_create_revision: signed(u)?,
    })
}

pub fn put(u: &mut Unstructured<'_>) -> Result<PutRequest> {
    let plain = u.ratio(3, 4)?;
    Ok(PutRequest {
        key: key(u)?,
        value: payload(u)?,
        lease: if plain { 0 } else { signed(u)? },
        prev_kv: u.arbitrary()?,
        ignore_value: !plain && u.arbitrary()?,
        ignore_lease: !plain && u.arbitrary()?,
    })
}

fn delete(u: &mut Unstructured<'_>) -> Result<DeleteRangeRequest> {
    Ok(DeleteRangeRequest {
        key: key(u)?,
        range_end: end(u)?,
        prev_kv: u.arbitrary()?,
    })
}

pub fn txn(u: &mut Unstructured<'_>) -> Result<TxnRequest> {
    nested_txn(u, 0)
}

fn nested_txn(u: &mut Unstructured<'_>, depth: usize) -> Result<TxnRequest> {
    Ok(TxnRequest {
        compare: some(u, compare)?,
        success: some(u, |u| operation(u, depth))?,
        failure: some(u, |u| operation(u, depth))?,
    })
}

fn operation(u: &mut Unstructured<'_>, depth: usize) -> Result<RequestOp> {
    let request = match u.int_in_range(0..=6)? {
        0 if depth < DEPTH_MAX => Some(Request::RequestTxn(nested_txn(u, depth + 1)?)),
        1 => Some(Request::RequestDeleteRange(delete(u)?)),
        2 if u.ratio(1, 10)? => None,
        2 | 3 => Some(Request::RequestRange(range(u)?)),
        _ => Some(Request::RequestPut(put(u)?)),
    };
    Ok(RequestOp { request })
}

fn compare(u: &mut Unstructured<'_>) -> Result<Compare> {
    let union = match u.int_in_range(0..=5)? {
        0 => None,
        1 => Some(TargetUnion::Version(signed(u)?)),
        2 => Some(TargetUnion::CreateRevision(signed(u)?)),
        3 => Some(TargetUnion::ModRevision(signed(u)?)),
        4 => Some(TargetUnion::Lease(signed(u)?)),
        _ => Some(TargetUnion::Value(payload(u)?)),
    };
    Ok(Compare {
        result: option(u)?,
        target: option(u)?,
        key: key(u)?,
        range_end: end(u)?,
        target_union: union,
    })
}

fn key(u: &mut Unstructured<'_>) -> Result<Bytes> {
    match u.ratio(1, 20)? {
        true => payload(u),
        false => Ok(Bytes::from_static(
            u.choose(&[b"a", b"b", b"c", b"d"])?.as_slice(),
        )),
    }
}

/// One key, some, all from there on, or the wrong way round.
fn end(u: &mut Unstructured<'_>) -> Result<Bytes> {
    match u.int_in_range(0..=5)? {
        0 => Ok(Bytes::from_static(&[0])),
        1 | 2 => key(u),
        _ => Ok(Bytes::new()),
    }
}

fn signed(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match u.int_in_range(0..=10)? {
        0 => u.arbitrary()?,
        1 => i64::MIN,
        2 => i64::MAX,
        3 => -1,
        4..=6 => u.int_in_range(0..=12)?,
        _ => 0,
    })
}

/// Of an enumeration, mostly.
fn option(u: &mut Unstructured<'_>) -> Result<i32> {
    match u.ratio(1, 20)? {
        true => u.arbitrary(),
        false => u.int_in_range(0..=4),
    }
}
