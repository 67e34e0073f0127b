//! How a replica is doing, and a way to be told when that changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use little_raft_core::{Member, Membership, ReplicaId, State};
use thiserror::Error;

use crate::driver::Progress;
use crate::error::StopReason;
use crate::pending::{Abandoned, Answer, Pending};

/// How a replica is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Which replica.
    pub id: ReplicaId,
    /// Its part.
    pub state: State,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<ReplicaId>,
    /// The index of the last entry of its log.
    pub last: u64,
    /// The last index that is durable here.
    pub durable: u64,
    /// The last index known to be committed.
    pub committed: u64,
    /// The last index its state machine has applied.
    pub applied: u64,
    /// Who belongs to the group.
    pub members: Arc<[Member]>,
    /// Why it no longer runs; nothing while it does.
    pub stopped: Option<StopReason>,
}

/// The replica has stopped, and its last status was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the replica has stopped: its status will not change again")]
pub struct WatchEnded;

impl Abandoned for WatchEnded {
    fn abandoned() -> Self {
        Self
    }
}

/// Gives a replica's status whenever leadership, membership or its running has changed; the indices come along.
///
/// Who looks rarely misses nothing but what lay between.
pub struct StatusWatch {
    board: Arc<Board>,
    seen: u64,
}

impl StatusWatch {
    /// The status after the next change; the first time, the status as it is.
    #[expect(
        clippy::should_implement_trait,
        reason = "it gives a future, and never ends an iteration"
    )]
    pub fn next(&mut self) -> Pending<Status, WatchEnded> {
        let (answer, pending) = Answer::new();
        let mut inner = self.board.lock();
        if inner.version != self.seen {
            self.seen = inner.version;
            let status = inner.status.clone();
            drop(inner);
            answer.send(Ok(status));
        } else if inner.status.stopped.is_some() {
            drop(inner);
            answer.send(Err(WatchEnded));
        } else {
            self.seen += 1;
            inner.watchers.push(answer);
        }
        pending
    }
}

/// Where a replica shows its status.
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

struct Inner {
    status: Status,
    membership: u64,
    version: u64,
    watchers: Vec<Answer<Status, WatchEnded>>,
}

impl Board {
    pub(crate) fn new(id: ReplicaId, progress: Progress, membership: &Membership) -> Self {
        let status = Status {
            id,
            state: progress.state,
            term: progress.term,
            leader: progress.leader,
            last: progress.last,
            durable: progress.durable,
            committed: progress.committed,
            applied: progress.applied,
            members: membership.members.clone().into(),
            stopped: None,
        };
        Self {
            inner: Mutex::new(Inner {
                status,
                membership: membership.version,
                version: 1,
                watchers: Vec::new(),
            }),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status.clone()
    }

    pub(crate) fn watch(self: &Arc<Self>) -> StatusWatch {
        StatusWatch {
            board: self.clone(),
            seen: 0,
        }
    }

    pub(crate) fn update(&self, progress: Progress, membership: &Membership) {
        let mut inner = self.lock();
        let status = &mut inner.status;
        let before = (status.state, status.term, status.leader);
        let changed = before != (progress.state, progress.term, progress.leader);
        status.state = progress.state;
        status.term = progress.term;
        status.leader = progress.leader;
        status.last = progress.last;
        status.durable = progress.durable;
        status.committed = progress.committed;
        status.applied = progress.applied;
        let moved = inner.membership != membership.version;
        if moved {
            inner.membership = membership.version;
            inner.status.members = membership.members.clone().into();
        }
        if changed || moved {
            tell(inner);
        }
    }

    /// Why it stopped. The first reason stays.
    pub(crate) fn stopped(&self, reason: StopReason) {
        let mut inner = self.lock();
        if inner.status.stopped.is_none() {
            inner.status.stopped = Some(reason);
            inner.status.leader = None;
            inner.status.state = State::Follower;
            tell(inner);
        }
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.lock().status.stopped.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(mut inner: MutexGuard<'_, Inner>) {
    inner.version += 1;
    let watchers = std::mem::take(&mut inner.watchers);
    let status = inner.status.clone();
    drop(inner);
    for watcher in watchers {
        watcher.send(Ok(status.clone()));
    }
}
