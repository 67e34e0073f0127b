//! Refusals and failures as gRPC statuses: etcd's clients match code and text.

use little_raft::{ChangeError, MembersError};
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

/// The status for members that were not changed.
pub fn not_changed(error: MembersError) -> Status {
    match error {
        MembersError::NoLeader => no_leader(),
        MembersError::Busy => too_many_requests(),
        MembersError::DiskFull => refused(Refusal::NoSpace),
        MembersError::Stopped => stopped(),
        MembersError::Refused(error) => change_refused(error),
        MembersError::UnderWay | MembersError::OtherVersion { .. } => {
            Status::unavailable(format!("etcdserver: {error}"))
        }
        _ => timed_out(),
    }
}

fn change_refused(error: ChangeError) -> Status {
    match error {
        ChangeError::Unknown(_) => member_not_found(),
        ChangeError::Known(_) => member_exists(),
        ChangeError::AddressInUse { .. } => peer_urls_exist(),
        ChangeError::NoVoters => not_enough_started(),
        ChangeError::Lags(..) => lags(),
        error => {
            let text = MembersError::Refused(error).to_string();
            Status::invalid_argument(format!("etcdserver: {text}"))
        }
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident: $code:ident $text:literal;)*) => {
        $($(#[$doc])*
        pub fn $name() -> Status {
            Status::new(Code::$code, concat!("etcdserver: ", $text))
        })*
    };
}

statuses! {
    /// It may or may not have been done.
    timed_out: Unavailable "request timed out";
    /// Nothing was done: too much waits.
    too_many_requests: ResourceExhausted "too many requests";
    /// This server goes away.
    stopped: Unavailable "server stopped";
    /// No member has this id.
    member_not_found: NotFound "member not found";
    /// A member has this id already.
    member_exists: FailedPrecondition "member ID already exist";
    /// A member is reached there already.
    peer_urls_exist: FailedPrecondition "Peer URLs already exists";
    /// Not one `http://host:port`.
    bad_member_urls: InvalidArgument "given member URLs are invalid";
    /// There may not be more.
    too_many_learners: FailedPrecondition "too many learner members in cluster";
    /// Too few would be left.
    not_enough_started: FailedPrecondition "re-configuration failed due to not enough started members";
    /// Too few of those who would be left are up.
    unhealthy: Unavailable "unhealthy cluster";
    /// It votes already.
    not_a_learner: FailedPrecondition "can only promote a learner member";
    /// It has not caught up.
    lags: FailedPrecondition "can only promote a learner member which is in sync with leader";
    /// Somebody else leads.
    not_leader: FailedPrecondition "not leader";
    /// It doesn't vote, so it can't lead.
    bad_transferee: FailedPrecondition "bad leader transferee";
    /// It votes, and has no data to lead with.
    witness_cant_lead: FailedPrecondition "bad leader transferee: a witness never leads";
    /// Nobody else says what a witness is called.
    unnamed_witness: InvalidArgument "a witness needs a name";
    /// Who should lead didn't catch up in time.
    transfer_took_too_long: Unavailable "request timed out, leader transfer took too long";
}
