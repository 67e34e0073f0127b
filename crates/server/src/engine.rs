//! The replica under the API: how a request gets into the log, how a read becomes fresh, and what that is in etcd's
//! words when it fails.

use std::time::Duration;

use little_raft::core::ReplicaId;
use little_raft::{
    MemberChange, ProposeError, ReadError, Replica, StateMachine, Status as ReplicaStatus,
    StopReason,
};
use tonic::Status;

use crate::api::status::{
    no_leader, not_changed, refused, stopped, timed_out, too_many_requests, transfer_took_too_long,
};
use crate::proto::command::command::Kind;
use crate::store::{Answer, Refusal, Store, encode};

/// A change of members waits so long for another one, and for a leader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A successor gets so long to catch up.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

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
            _ => no_leader(),
        })
    }

    /// Changes who belongs.
    ///
    /// # Errors
    /// Why it wasn't changed, in etcd's words.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), Status> {
        let change = change.within(CHANGE_TIMEOUT);
        let changed = self.in_time(self.replica.change_members(change)).await?;
        changed.map(drop).map_err(not_changed)
    }

    /// Hands leadership over to a voter, and ends when this replica has seen it lead.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub async fn move_leader(&self, to: ReplicaId) -> Result<(), Status> {
        let moved = async {
            loop {
                let status = self.replica.status();
                if status.leader == Some(to) {
                    return Ok(());
                }
                if status.stopped.is_some() {
                    return Err(stopped());
                }
                // Given up after an election timeout: then it is tried again. Nothing happens where nobody leads.
                self.replica
                    .transfer_leadership(Some(to))
                    .map_err(|error| Status::failed_precondition(error.to_string()))?;
                self.leads_within(to, status.timing.election).await;
            }
        };
        let moved = tokio::time::timeout(TRANSFER_TIMEOUT, moved).await;
        moved.unwrap_or_else(|_| Err(transfer_took_too_long()))
    }

    async fn leads_within(&self, to: ReplicaId, time: Duration) {
        let mut watch = self.replica.watch_status();
        let leads = async {
            while let Ok(status) = watch.next().await
                && status.leader != Some(to)
            {}
        };
        // Whoever waited looks itself.
        drop(tokio::time::timeout(time, leads).await);
    }

    /// Names the cluster: the same on all its replicas, whoever belongs today.
    pub fn cluster_id(&self) -> u64 {
        self.replica.cluster_id()
    }

    /// Ends after a change of leadership or membership, or after `time`.
    pub async fn changed_or(&self, time: Duration) {
        let mut watch = self.replica.watch_status();
        let changed = async {
            // The first is the status as it is.
            drop(watch.next().await);
            drop(watch.next().await);
        };
        drop(tokio::time::timeout(time, changed).await);
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
        ended(&self.replica).await
    }

    /// Stops in order; blocks until all is flushed.
    pub fn stop(&self) {
        self.replica.stop();
    }
}

/// Ends when `replica` has: why.
pub async fn ended<M: StateMachine>(replica: &Replica<M>) -> StopReason {
    let mut watch = replica.watch_status();
    loop {
        match watch.next().await {
            Ok(ReplicaStatus {
                stopped: Some(reason),
                ..
            }) => return reason,
            Ok(_) => {}
            Err(_) => return replica.stopped().unwrap_or(StopReason::Requested),
        }
    }
}

/// *No leader* says that nothing was proposed, and clients act on it; what may have happened is a timeout.
fn not_proposed(error: ProposeError) -> Status {
    match error {
        ProposeError::NoLeader => no_leader(),
        ProposeError::Busy => too_many_requests(),
        ProposeError::DiskFull => refused(Refusal::NoSpace),
        ProposeError::TooLarge { .. } => refused(Refusal::TooLarge),
        ProposeError::NotApplied => Status::unavailable("etcdserver: leader changed"),
        ProposeError::Stopped => stopped(),
        _ => timed_out(),
    }
}
