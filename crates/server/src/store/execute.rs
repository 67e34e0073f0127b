//! Writing: what each request does to the state. A request that is refused, or fails halfway, leaves no trace.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::check;
use super::disk::Disk;
use super::error::Refusal;
use super::index::KeyRange;
use super::look::{LazyView, Look, Plan, Step, header};
use super::range::Horizon;
use super::record::{Record, Revision};
use super::state::State;
use crate::proto::command::command::Kind;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};

/// Half of all there are: nobody raises a store so far that it can't be written to any more.
const REVISION_MAX: i64 = i64::MAX / 2;

/// What a command answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactionResponse),
    /// To what a member says of itself.
    Attributes,
    /// To a store's going on in another cluster.
    RaiseRevision,
}

/// Why a request didn't take effect.
#[derive(Debug)]
pub enum Failure {
    /// It was refused; every replica refuses it.
    Refused(Refusal),
    /// This replica can't read what it needs.
    Broken(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Applies one command.
pub fn apply(state: &mut State, disk: &Disk, command: Kind) -> Result<Answer, Failure> {
    let start = Revision {
        main: state.revision + 1,
        sub: 0,
    };
    let mut execution = Execution {
        state,
        view: LazyView::new(disk),
        next: start,
    };
    let result = execution.command(command);
    match result {
        Ok(answer) => {
            execution.finish(start);
            Ok(answer)
        }
        Err(failure) => {
            state.undo(start);
            Err(failure)
        }
    }
}

/// One request under way.
struct Execution<'a> {
    state: &'a mut State,
    view: LazyView<'a>,
    /// Where the next record goes.
    next: Revision,
}

impl Execution<'_> {
    fn command(&mut self, command: Kind) -> Result<Answer, Failure> {
        match command {
            Kind::Put(request) => {
                check::put(&request)?;
                self.check_put(&request)?;
                Ok(Answer::Put(self.put(request)?))
            }
            Kind::DeleteRange(request) => {
                check::delete_range(&request)?;
                Ok(Answer::DeleteRange(self.delete_range(request)?))
            }
            Kind::Txn(request) => Ok(Answer::Txn(self.txn(request)?)),
            Kind::Compact(request) => Ok(Answer::Compact(self.compact(&request)?)),
            Kind::Attributes(attributes) => {
                Arc::make_mut(&mut self.state.attributes).insert(attributes.id, attributes);
                Ok(Answer::Attributes)
            }
            Kind::RaiseRevision(request) => {
                self.raise_revision(request.by)?;
                Ok(Answer::RaiseRevision)
            }
        }
    }

    /// One request is one revision, if it wrote anything.
    fn finish(&mut self, start: Revision) {
        if !self.wrote() {
            return;
        }
        let first = self
            .state
            .recent
            .partition_point(|(written, _)| *written < start);
        let mut stored = Vec::new();
        for (revision, record) in self.state.recent.range(first..) {
            record.encode(*revision, &mut stored);
        }
        self.state.history = crc32c::crc32c_append(self.state.history, &stored);
        self.state.revision = start.main;
    }

    fn wrote(&self) -> bool {
        self.next.sub > 0
    }

    /// What this request's own reads see.
    fn revision(&self) -> i64 {
        if self.wrote() {
            self.next.main
        } else {
            self.state.revision
        }
    }

    fn header(&self) -> Option<ResponseHeader> {
        header(self.revision())
    }

    fn look(&self) -> Look<'_> {
        Look {
            state: self.state,
            view: &self.view,
            horizon: Horizon {
                revision: self.revision(),
                nameable: self.state.revision,
                compacted: self.state.compacted,
            },
        }
    }

    fn write(&mut self, record: Record) {
        self.state.write(self.next, record);
        self.next.sub += 1;
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Failure> {
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps
            && self
                .state
                .index
                .at(&request.key, self.state.revision)
                .is_none()
        {
            return Err(Refusal::KeyNotFound.into());
        }
        if request.lease != 0 {
            return Err(Refusal::LeaseNotFound.into());
        }
        Ok(())
    }

    fn put(&mut self, request: PutRequest) -> Result<PutResponse, Failure> {
        let reads_old = request.prev_kv || request.ignore_value || request.ignore_lease;
        let previous = if reads_old {
            self.look().find(&request.key)?
        } else {
            None
        };
        let kept = |ignored: bool| {
            if ignored {
                previous.as_ref().ok_or(Refusal::KeyNotFound).map(Some)
            } else {
                Ok(None)
            }
        };
        let (value_kept, lease_kept) = (kept(request.ignore_value)?, kept(request.ignore_lease)?);
        let newest = self.state.index.at(&request.key, self.next.main);
        let record = Record {
            key: request.key,
            value: value_kept.map_or(request.value, |kv| kv.value.clone()),
            create: newest.map_or(self.next.main, |newest| newest.create),
            version: newest.map_or(1, |newest| newest.version + 1),
            lease: lease_kept.map_or(request.lease, |kv| kv.lease),
        };
        self.write(record);
        Ok(PutResponse {
            header: self.header(),
            prev_kv: previous.filter(|_| request.prev_kv),
        })
    }

    fn delete_range(
        &mut self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Failure> {
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            let all = RangeRequest {
                key: request.key.clone(),
                range_end: request.range_end.clone(),
                ..RangeRequest::default()
            };
            prev_kvs = self.look().page(&all)?.kvs;
        }
        let range = KeyRange {
            key: &request.key,
            end: &request.range_end,
        };
        let existing = self.state.index.range(range, self.next.main);
        let keys: Vec<Bytes> = existing
            .map(|(key, _)| Bytes::copy_from_slice(key))
            .collect();
        let deleted = keys.len() as i64;
        for key in keys {
            self.write(Record::tombstone(key));
        }
        Ok(DeleteRangeResponse {
            header: self.header(),
            deleted,
            prev_kvs,
        })
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, Failure> {
        if request.revision <= self.state.compacted {
            return Err(Refusal::Compacted.into());
        }
        if request.revision > self.state.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.state.compacted = request.revision;
        Ok(CompactionResponse {
            header: self.header(),
        })
    }

    /// All that anybody may have seen under a revision below is gone: whoever remembers one must begin anew (P59).
    fn raise_revision(&mut self, by: u64) -> Result<(), Failure> {
        let raised = self.state.revision.checked_add_unsigned(by);
        let raised = raised.filter(|raised| *raised <= REVISION_MAX);
        let raised = raised.ok_or(Refusal::FutureRevision)?;
        self.state.revision = raised;
        self.state.compacted = raised;
        self.state.history = crc32c::crc32c_append(self.state.history, &raised.to_le_bytes());
        Ok(())
    }

    fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        check::txn(&request)?;
        let plan = self.look().plan(request)?;
        self.check_plan(&plan)?;
        let response = self.run(plan)?;
        Ok(TxnResponse {
            header: self.header(),
            ..response
        })
    }

    /// All that can be refused is, before the first write; puts before ranges, as in etcd.
    fn check_plan(&self, plan: &Plan) -> Result<(), Failure> {
        let mut steps = Vec::new();
        plan.collect(&mut steps);
        for step in &steps {
            if let Step::Put(request) = step {
                self.check_put(request)?;
            }
        }
        for step in &steps {
            if let Step::Range(request) = step {
                self.look().horizon.resolve(request.revision)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, plan: Plan) -> Result<TxnResponse, Failure> {
        let mut responses = Vec::with_capacity(plan.steps.len());
        for step in plan.steps {
            let response = match step {
                Step::Range(request) => Response::ResponseRange(self.look().range(&request)?),
                Step::Put(request) => Response::ResponsePut(self.put(request)?),
                Step::Delete(request) => Response::ResponseDeleteRange(self.delete_range(request)?),
                Step::Txn(plan) => Response::ResponseTxn(self.run(plan)?),
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        Ok(TxnResponse {
            // Only the outermost header tells the revision, as in etcd.
            header: header(0),
            succeeded: plan.succeeded,
            responses,
        })
    }
}
