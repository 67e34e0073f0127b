//! Refusals and failures as gRPC statuses: etcd's clients match code and text.

use tonic::{Code, Status};

use crate::store::Refusal;

/// The status for a refused request.
pub fn refused(refusal: Refusal) -> Status {
    let code = match refusal {
        Refusal::EmptyKey
        | Refusal::KeyNotFound
        | Refusal::ValueProvided
        | Refusal::LeaseProvided
        | Refusal::TooManyOps
        | Refusal::DuplicateKey
        | Refusal::InvalidSortOption
        | Refusal::TooLarge => Code::InvalidArgument,
        Refusal::LeaseNotFound => Code::NotFound,
        Refusal::Compacted | Refusal::FutureRevision => Code::OutOfRange,
        Refusal::NoSpace => Code::ResourceExhausted,
        Refusal::Corrupt => Code::DataLoss,
    };
    Status::new(code, refusal.to_string())
}

/// No leader is known, and nothing was proposed.
pub fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}
