//! The replica under the API: how a request gets into the log, and a read becomes fresh.

use std::sync::{Mutex, PoisonError};

use little_raft::core::{Position, ReplicaId};
use little_raft::{Entry, LibraryState, StateMachine};
use tonic::Status;

use crate::api::status::refused;
use crate::proto::command::command::Kind;
use crate::store::{Answer, Refusal, Store, encode};

/// What the API needs to know of the replica.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The term it is in.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<ReplicaId>,
    /// The last entry of its log.
    pub last: u64,
    /// The last entry applied.
    pub applied: u64,
}

/// The replica.
pub struct Engine {
    id: ReplicaId,
    machine: Mutex<(Store, u64)>,
    request_bytes_max: usize,
}

impl Engine {
    /// A replica that is alone.
    pub fn alone(id: ReplicaId, store: Store, request_bytes_max: usize) -> Self {
        let applied = store.durable().map_or(0, |(position, _)| position.index);
        Self {
            id,
            machine: Mutex::new((store, applied)),
            request_bytes_max,
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
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, applied) = &mut *machine;
        *applied += 1;
        let position = Position::new(*applied, 1);
        let answer = store.apply(Entry::new(position, 0, &command));
        store
            .commit(position, &LibraryState::default())
            .map_err(|error| Status::internal(error.to_string()))?;
        answer.map_err(refused)
    }

    /// Waits until this replica has applied all that was acknowledged anywhere before the call.
    ///
    /// # Errors
    /// Without a leader, in etcd's words.
    pub async fn barrier(&self) -> Result<(), Status> {
        Ok(())
    }

    /// How it stands.
    pub fn facts(&self) -> Facts {
        let applied = self
            .machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1;
        Facts {
            term: 1,
            leader: Some(self.id),
            last: applied,
            applied,
        }
    }
}
