//! How a replica is doing, and a way to be told when that changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use little_raft_core::{Member, Membership, ReplicaId, Role, State, Timing};
use thiserror::Error;

use crate::driver::Progress;
use crate::error::{StopReason, TransferError};
use crate::pending::{Abandoned, Answer, Pending};
use crate::timer;

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
    /// The last index its state machine has applied; a witness has none, and this says nothing of it.
    pub applied: u64,
    /// The last index at which its state machine had the same [digest](crate::StateMachine::digest) as a majority's; zero
    /// if that was not found out since it started.
    pub alike: u64,
    /// Who belongs to the group.
    pub members: Arc<[Member]>,
    /// The version of the membership: it rises with every change.
    pub members_version: u64,
    /// Its timeouts.
    pub timing: Timing,
    /// Those that the group has agreed on, once [set for all](crate::MemberChange::set_timing).
    pub group_timing: Option<Timing>,
    /// Why it no longer runs; nothing while it does.
    pub stopped: Option<StopReason>,
}

impl Status {
    /// Whether it leads others, one of whom could lead in its place.
    pub(crate) fn is_worth_handing_over(&self) -> bool {
        let could_lead = self.members.iter().filter(|member| could_lead(member));
        self.state == State::Leader && could_lead.count() > 1
    }

    /// Whether it is a [witness](crate::Witness), as far as it knows.
    pub fn is_witness(&self) -> bool {
        let own = self.members.iter().find(|member| member.id == self.id);
        own.is_some_and(|member| member.witness)
    }

    pub(crate) fn check_successor(&self, id: ReplicaId) -> Result<(), TransferError> {
        match self.members.iter().find(|member| member.id == id) {
            Some(member) if member.witness => Err(TransferError::Witness { id }),
            Some(member) if could_lead(member) => Ok(()),
            _ => Err(TransferError::NotAVoter { id }),
        }
    }
}

fn could_lead(member: &Member) -> bool {
    member.role == Some(Role::Voter) && !member.witness
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
            let status = self.board.status_in(&inner);
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
///
/// The indices change with every command: they are stored one by one, without the lock.
pub(crate) struct Board {
    inner: Mutex<Inner>,
    last: AtomicU64,
    durable: AtomicU64,
    committed: AtomicU64,
    shown: Shown,
    contact: AtomicU64,
}

/// What the applier shows by itself.
pub(crate) struct Shown {
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) alike: Arc<AtomicU64>,
}

/// What of the status is told to watchers when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    role: (State, u64, Option<ReplicaId>),
    timing: Timing,
    membership: u64,
}

impl Told {
    pub(crate) fn of(progress: &Progress, membership: &Membership) -> Self {
        Self {
            role: (progress.state, progress.term, progress.leader),
            timing: progress.timing,
            membership: membership.version,
        }
    }
}

struct Inner {
    status: Status,
    version: u64,
    watchers: Vec<Answer<Status, WatchEnded>>,
}

impl Board {
    pub(crate) fn new(
        id: ReplicaId,
        progress: Progress,
        shown: Shown,
        membership: &Membership,
    ) -> Self {
        let status = Status {
            id,
            state: progress.state,
            term: progress.term,
            leader: progress.leader,
            last: progress.last,
            durable: progress.durable,
            committed: progress.committed,
            applied: shown.applied.load(Ordering::Acquire),
            alike: 0,
            members: membership.members.clone().into(),
            members_version: membership.version,
            timing: progress.timing,
            group_timing: membership.timing,
            stopped: None,
        };
        Self {
            last: status.last.into(),
            durable: status.durable.into(),
            committed: status.committed.into(),
            shown,
            contact: progress.contact.into(),
            inner: Mutex::new(Inner {
                status,
                version: 1,
                watchers: Vec::new(),
            }),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status_in(&self.lock())
    }

    pub(crate) fn watch(self: &Arc<Self>) -> StatusWatch {
        StatusWatch {
            board: self.clone(),
            seen: 0,
        }
    }

    /// Shows where the core is. `told` is the caller's memory of the call before.
    pub(crate) fn update(&self, told: &mut Told, progress: Progress, membership: &Membership) {
        self.last.store(progress.last, Ordering::Release);
        self.durable.store(progress.durable, Ordering::Release);
        self.committed.store(progress.committed, Ordering::Release);
        self.contact.store(progress.contact, Ordering::Release);
        let now = Told::of(&progress, membership);
        if *told != now {
            *told = now;
            self.change(progress, membership);
        }
    }

    /// For how long nothing was heard of the group.
    pub(crate) fn out_of_contact(&self) -> Duration {
        let contact = self.contact.load(Ordering::Acquire);
        Duration::from_nanos(timer::monotonic().saturating_sub(contact))
    }

    fn change(&self, progress: Progress, membership: &Membership) {
        let mut inner = self.lock();
        let status = &mut inner.status;
        status.state = progress.state;
        status.term = progress.term;
        status.leader = progress.leader;
        status.timing = progress.timing;
        if status.members_version != membership.version {
            status.members_version = membership.version;
            status.members = membership.members.clone().into();
            status.group_timing = membership.timing;
        }
        self.tell(inner);
    }

    /// Why it stopped. The first reason stays.
    pub(crate) fn stopped(&self, reason: StopReason) {
        let mut inner = self.lock();
        if inner.status.stopped.is_none() {
            inner.status.stopped = Some(reason);
            inner.status.leader = None;
            inner.status.state = State::Follower;
            self.tell(inner);
        }
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.lock().status.stopped.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.version += 1;
        let watchers = std::mem::take(&mut inner.watchers);
        let status = self.status_in(&inner);
        drop(inner);
        for watcher in watchers {
            watcher.send(Ok(status.clone()));
        }
    }

    /// Read in the opposite order of storing, so that nothing is shown as applied that isn't shown as committed.
    fn status_in(&self, inner: &Inner) -> Status {
        let applied = self.shown.applied.load(Ordering::Acquire);
        let committed = self.committed.load(Ordering::Acquire);
        let durable = self.durable.load(Ordering::Acquire);
        Status {
            last: self.last.load(Ordering::Acquire),
            durable,
            committed,
            applied,
            alike: self.shown.alike.load(Ordering::Acquire),
            ..inner.status.clone()
        }
    }
}
