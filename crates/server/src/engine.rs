//! The replica under the API: how a request gets into the log, how a read becomes fresh, and what that is in etcd's
//! words when it fails.

use std::time::Duration;

use little_raft::{ProposeError, ReadError, Replica, Status as ReplicaStatus, StopReason};
use tonic::Status;

use crate::api::status::refused;
use crate::proto::command::command::Kind;
use crate::store::{Answer, Refusal, Store, encode};

/// The replica.
pub struct Engine {
    replica: Replica<Store>,
    request_bytes_max: usize,
    timeout: Duration,
}

impl Engine {
    /// Takes requests of up to `request_bytes_max` to `replica`. None waits longer than `timeout`, whatever becomes
    /// of it: a leader that is cut off has it in its log, and can't tell its fate until it is back.
    pub fn new(replica: Replica<Store>, request_bytes_max: usize, timeout: Duration) -> Self {
        Self {
            replica,
            request_bytes_max,
            timeout,
        }
    }

    /// Puts a command into the log, and returns what applying it answered.
    ///
    /// # Errors
    /// What the store refuses, and what the replica can't do, in etcd's words.
    pub async fn propose(&self, command: Kind) -> Result<Answer, Status> {
        let command = encode(command);
        if command.len() > self.request_bytes_max {
            return Err(refused(Refusal::TooLarge));
        }
        let applied = self.in_time(self.replica.propose(command)).await?;
        applied.map_err(not_proposed)?.map_err(refused)
    }

    /// Waits until this replica has applied all that was acknowledged anywhere before the call.
    ///
    /// # Errors
    /// Without a leader, in etcd's words.
    pub async fn barrier(&self) -> Result<(), Status> {
        let fresh = self.in_time(self.replica.read_barrier()).await?;
        fresh.map_err(|error| match error {
            ReadError::Busy => too_many_requests(),
            ReadError::Stopped => stopped(),
            // A read can always be tried again, so its outcome is never in doubt.
            _ => crate::api::status::no_leader(),
        })
    }

    async fn in_time<T>(&self, pending: impl Future<Output = T>) -> Result<T, Status> {
        let ended = tokio::time::timeout(self.timeout, pending).await;
        ended.map_err(|_| timed_out())
    }

    /// How it stands.
    pub fn status(&self) -> ReplicaStatus {
        self.replica.status()
    }

    /// Ends when the replica has: why.
    pub async fn ended(&self) -> StopReason {
        let mut watch = self.replica.watch_status();
        loop {
            match watch.next().await {
                Ok(ReplicaStatus {
                    stopped: Some(reason),
                    ..
                }) => return reason,
                Ok(_) => {}
                Err(_) => return self.replica.stopped().unwrap_or(StopReason::Requested),
            }
        }
    }

    /// Stops in order; blocks until all is flushed.
    pub fn stop(&self) {
        self.replica.stop();
    }
}

/// *No leader* says that nothing was proposed, and clients act on it; what may have happened is a timeout.
fn not_proposed(error: ProposeError) -> Status {
    match error {
        ProposeError::NoLeader => crate::api::status::no_leader(),
        ProposeError::Busy => too_many_requests(),
        ProposeError::DiskFull => refused(Refusal::NoSpace),
        ProposeError::TooLarge { .. } => refused(Refusal::TooLarge),
        ProposeError::NotApplied => Status::unavailable("etcdserver: leader changed"),
        ProposeError::Stopped => stopped(),
        _ => timed_out(),
    }
}

fn timed_out() -> Status {
    Status::unavailable("etcdserver: request timed out")
}

fn too_many_requests() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}
