//! What a request sees while it is answered: keys, ranges, and how a transaction's compares come out.

use std::cell::OnceCell;
use std::io;

use super::disk::{Disk, DiskView};
use super::error::Refusal;
use super::execute::Failure;
use super::range::{Horizon, Page, Selection};
use super::state::State;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::proto::mvccpb::KeyValue;

/// A view of the file that is opened when first needed.
pub struct LazyView<'a> {
    disk: &'a Disk,
    view: OnceCell<DiskView>,
}

impl<'a> LazyView<'a> {
    pub fn new(disk: &'a Disk) -> Self {
        Self {
            disk,
            view: OnceCell::new(),
        }
    }

    pub fn open(&self) -> io::Result<&DiskView> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = self.disk.view().map_err(io::Error::other)?;
        Ok(self.view.get_or_init(|| view))
    }
}

/// The state at one moment, as far as a request may see it.
pub struct Look<'a> {
    pub state: &'a State,
    pub view: &'a LazyView<'a>,
    pub horizon: Horizon,
}

impl Look<'_> {
    pub fn find(&self, key: &[u8]) -> Result<Option<KeyValue>, Failure> {
        let Some(version) = self.state.index.at(key, self.horizon.revision) else {
            return Ok(None);
        };
        let record = self.state.record(version.revision, self.view.open()?)?;
        Ok(Some(record.key_value(version.revision)))
    }

    pub fn page(&self, request: &RangeRequest) -> Result<Page, Failure> {
        Ok(Selection::new(self.state, request, self.horizon)?.page(request, self.view.open()?)?)
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        let Page { kvs, more, count } = self.page(request)?;
        Ok(RangeResponse {
            header: header(self.horizon.revision),
            kvs,
            more,
            count,
        })
    }

    /// Answers a transaction that only reads.
    pub fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        let plan = self.plan(request)?;
        let mut responses = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let Step::Range(request) = step else {
                panic!("a transaction that writes goes through the log");
            };
            let response = Some(Response::ResponseRange(self.range(request)?));
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse {
            header: header(self.horizon.revision),
            succeeded: plan.succeeded,
            responses,
        })
    }

    /// Decides every compare, nested ones included, before any operation runs.
    pub fn plan(&self, request: TxnRequest) -> Result<Plan, Failure> {
        let mut succeeded = true;
        for compare in &request.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        let branch = if succeeded {
            request.success
        } else {
            request.failure
        };
        let steps = branch
            .into_iter()
            .map(|op| self.step(op))
            .collect::<Result<_, Failure>>()?;
        Ok(Plan { succeeded, steps })
    }

    fn step(&self, op: RequestOp) -> Result<Step, Failure> {
        Ok(match op.request.ok_or(Refusal::KeyNotFound)? {
            Request::RequestRange(request) => Step::Range(request),
            Request::RequestPut(request) => Step::Put(request),
            Request::RequestDeleteRange(request) => Step::Delete(request),
            Request::RequestTxn(request) => Step::Txn(self.plan(request)?),
        })
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Failure> {
        let request = RangeRequest {
            key: compare.key.clone(),
            range_end: compare.range_end.clone(),
            ..RangeRequest::default()
        };
        let kvs = self.page(&request)?.kvs;
        if kvs.is_empty() {
            // A missing key has no value to compare, but its numbers are zeros.
            let by_value = compare.target == CompareTarget::Value as i32;
            return Ok(!by_value && holds_for(compare, &KeyValue::default()));
        }
        Ok(kvs.iter().all(|kv| holds_for(compare, kv)))
    }
}

/// A transaction whose compares are decided.
pub struct Plan {
    pub succeeded: bool,
    pub steps: Vec<Step>,
}

impl Plan {
    /// Adds all steps that will run, nested ones included.
    pub fn collect<'a>(&'a self, steps: &mut Vec<&'a Step>) {
        for step in &self.steps {
            match step {
                Step::Txn(plan) => plan.collect(steps),
                step => steps.push(step),
            }
        }
    }
}

/// An operation of the branch that runs.
pub enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(Plan),
}

/// A header as far as the store can fill it.
pub fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};

    let union = compare.target_union.as_ref();
    // What the request leaves out, or says for another target, is zero.
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv.version.cmp(&match union {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match union {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match union {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match union {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => kv.value[..].cmp(match union {
            Some(TargetUnion::Value(value)) => value,
            _ => &[],
        }),
        Err(_) => Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering == Equal,
        Ok(CompareResult::NotEqual) => ordering != Equal,
        Ok(CompareResult::Greater) => ordering == Greater,
        Ok(CompareResult::Less) => ordering == Less,
        Err(_) => true,
    }
}
