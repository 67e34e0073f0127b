//! Which requests are refused before anything is read or proposed: rules that depend on the request alone.

use std::collections::HashSet;

use super::error::Refusal;
use super::index::KeyRange;
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, range_request::SortOrder,
    range_request::SortTarget,
};

/// The most operations in each list of a transaction, nested ones sharing what their parent leaves.
pub const TXN_OPS_MAX: usize = 128;

/// Checks a range request.
///
/// # Errors
/// Without a key, or with an unknown sort option.
pub fn range(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let sortable = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if sortable {
        Ok(())
    } else {
        Err(Refusal::InvalidSortOption)
    }
}

/// Checks a put.
///
/// # Errors
/// Without a key, or with a value or lease that it says to ignore.
pub fn put(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
///
/// # Errors
/// Without a key.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        Err(Refusal::EmptyKey)
    } else {
        Ok(())
    }
}

/// Checks a transaction with all that is nested in it.
///
/// # Errors
/// If it is too large, one of its parts is refused, or it could write a key twice.
pub fn txn(request: &TxnRequest) -> Result<(), Refusal> {
    txn_parts(request, TXN_OPS_MAX)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

fn txn_parts(request: &TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    let ops = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let left = ops_max.checked_sub(ops).ok_or(Refusal::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => txn_parts(request, left)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch of a transaction may write.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<KeyRange<'a>>,
}

impl<'a> Writes<'a> {
    /// Nested branches are looked at before the puts of this one, in etcd's order: the answer depends on it.
    fn of(ops: &'a [RequestOp]) -> Result<Self, Refusal> {
        let mut writes = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                writes.deletes.push(KeyRange {
                    key: &delete.key,
                    end: &delete.range_end,
                });
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                writes.add_either(Self::of(&txn.success)?, Self::of(&txn.failure)?)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                writes.add_put(&put.key)?;
            }
        }
        Ok(writes)
    }

    /// Only one of the branches of a nested transaction runs, so they may share keys.
    fn add_either(&mut self, success: Self, failure: Self) -> Result<(), Refusal> {
        for key in &success.puts {
            self.add_put(key)?;
        }
        for key in failure.puts {
            if !success.puts.contains(key) {
                self.add_put(key)?;
            }
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

/// Whether the request only reads, so that it needn't go through the log.
pub fn reads_only(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether a transaction of reads may be answered from this replica's own state, however old.
pub fn serializable(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

const RECORD_OVERHEAD_BYTES: u64 = 256;

/// What a put may add to the store, as etcd reckons it.
pub fn put_cost(request: &PutRequest) -> u64 {
    RECORD_OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

/// What a transaction may add at most; 0 if it only reads and deletes.
pub fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(op_cost).sum::<u64>();
    branch(&request.success).max(branch(&request.failure))
}

fn op_cost(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Request::RequestPut(put)) => put_cost(put),
        Some(Request::RequestTxn(txn)) => txn_cost(txn),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    }
}
