//! What a user holds: one running member of a group.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use little_raft_core::{
    Codec, Conditions, ConfigError, EntryKind, Input, Membership, ReplicaId, Timing,
};

use crate::builder::Builder;
use crate::driver::{ChangeRequest, Event, Proposal, ReadTask, SessionCommand, Terms, Waiter};
use crate::error::{MembersError, ProposeError, ReadError, StopReason, TransferError};
use crate::machine::StateMachine;
use crate::members::MemberChange;
use crate::pending::{Answer, Pending};
use crate::session::{Once, Session};
use crate::shell::Shell;
use crate::status::{Status, StatusWatch};

/// A running replica of a state machine `M`. Cheap to clone; all clones are the same replica.
///
/// It stops when [`stop`](Self::stop) is called or its last clone is dropped.
pub struct Replica<M: StateMachine> {
    handle: Arc<Handle<M>>,
}

struct Handle<M: StateMachine> {
    shell: Arc<Shell<M>>,
    command_bytes_max: usize,
    cluster_id: u64,
}

impl<M: StateMachine> Replica<M> {
    /// Begins to describe the replica called `id` of a group.
    pub fn builder(id: impl Into<ReplicaId>) -> Builder<M> {
        Builder::new(id.into())
    }

    /// Proposes a command, on any replica: it is forwarded to the leader. Ends with what the state machine answered
    /// here, once the command is durable on a majority and applied here.
    ///
    /// Without a leader the command waits for one, up to the proposal timeout.
    pub fn propose(&self, command: impl Command) -> Pending<M::Response, ProposeError> {
        let (answer, mut pending) = Answer::new();
        if self.give(Proposal::command(command.into_bytes(), answer)) {
            pending.leave();
        }
        pending
    }

    /// Proposes a command on terms of its own: under conditions, within a time, once however often it is tried.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use little_raft::{Conditions, ProposeError, ProposeOptions, Replica, StateMachine};
    /// # fn once<M: StateMachine>(replica: &Replica<M>) -> Result<(), ProposeError> {
    /// let options = ProposeOptions {
    ///     conditions: Conditions {
    ///         leader_term: Some(replica.status().term),
    ///         ..Conditions::default()
    ///     },
    ///     within: Some(Duration::from_millis(300)),
    ///     ..ProposeOptions::default()
    /// };
    /// replica.propose_with("only while the same leader leads", options).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn propose_with(
        &self,
        command: impl Command,
        options: ProposeOptions,
    ) -> Pending<M::Response, ProposeError> {
        let (answer, mut pending) = Answer::new();
        let (kind, waiter) = (EntryKind::Command, Waiter::Response(answer));
        if self.give_with(kind, command.into_bytes(), options, waiter) {
            pending.leave();
        }
        pending
    }

    /// Proposes several commands as one: all are applied, one after the other with nothing between them, or none is.
    /// Ends with their responses, in order.
    ///
    /// ```no_run
    /// # use little_raft::{ProposeError, ProposeOptions, Replica, StateMachine};
    /// # fn once<M: StateMachine<Response = u64>>(replica: &Replica<M>) -> Result<(), ProposeError> {
    /// let transfer = ["withdraw 5 from a", "pay 5 to b"];
    /// let responses = replica.propose_together(transfer, ProposeOptions::default()).wait()?;
    /// assert_eq!(responses.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn propose_together<C: Command>(
        &self,
        commands: impl IntoIterator<Item = C>,
        options: ProposeOptions,
    ) -> Pending<Vec<M::Response>, ProposeError> {
        let (answer, mut pending) = Answer::new();
        let commands: Vec<Bytes> = commands.into_iter().map(C::into_bytes).collect();
        let (kind, waiter) = (EntryKind::Commands, Waiter::Responses(answer));
        if self.give_with(kind, commands.to_bytes(), options, waiter) {
            pending.leave();
        }
        pending
    }

    /// Registers a session with the group, under which retried commands are applied once; see [`Session`]. If the
    /// outcome is unknown, register another: the group forgets those that nobody uses.
    pub fn register_session(&self) -> Pending<Session, ProposeError> {
        let (answer, pending) = Answer::new();
        let waiter = Waiter::Session(answer);
        if M::response_codec().is_none() {
            waiter.send(Err(ProposeError::NoSessions));
        } else {
            let payload = SessionCommand::Register.to_bytes();
            let proposal = Proposal::new(EntryKind::Session, payload, waiter);
            self.handle.shell.call(Event::Propose(proposal));
        }
        pending
    }

    fn give_with(
        &self,
        kind: EntryKind,
        payload: Bytes,
        options: ProposeOptions,
        waiter: Waiter<M::Response>,
    ) -> bool {
        let ProposeOptions {
            conditions,
            within,
            once,
        } = options;
        let (kind, payload) = match once {
            Some(_) if M::response_codec().is_none() => {
                waiter.send(Err(ProposeError::NoSessions));
                return false;
            }
            Some(once) => {
                let command = SessionCommand::Once(once, kind, payload);
                (EntryKind::Session, command.to_bytes())
            }
            None => (kind, payload),
        };
        let mut proposal = Proposal::new(kind, payload, waiter);
        proposal.terms = Some(Box::new(Terms { conditions, within }));
        self.give(proposal)
    }

    /// Whether it is only queued, and its task must come back.
    fn give(&self, proposal: Proposal<M::Response>) -> bool {
        if M::is_witness() {
            proposal.waiter.send(Err(ProposeError::Witness));
            return false;
        }
        let (bytes, bytes_max) = (proposal.payload.len(), self.handle.command_bytes_max);
        if bytes > bytes_max {
            let error = ProposeError::TooLarge { bytes, bytes_max };
            proposal.waiter.send(Err(error));
            return false;
        }
        self.handle.shell.call_or_leave(Event::Propose(proposal))
    }

    /// Reads the state machine, linearizably, on any replica: `look` sees the effect of every command that was
    /// answered anywhere before this call. Costs the leader one round of heartbeats, shared by all waiting reads.
    ///
    /// `look` runs between two batches of commands and holds them up: be quick, and don't wait for this replica in it.
    pub fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Pending<T, ReadError> {
        let (answer, pending) = Answer::new();
        let look = |machine: &M, _| look(machine);
        let task = Look { look, answer };
        self.look(task, |task| {
            self.handle.shell.call(Event::Read(task));
        });
        pending
    }

    /// Ends once the state machine here has applied all that was answered anywhere before this call: for machines
    /// that can be looked at from outside.
    pub fn read_barrier(&self) -> Pending<(), ReadError> {
        self.read(|_| ())
    }

    /// Reads the state machine once all up to `index` is applied here, without asking anybody: on any replica, whoever
    /// reads sees what this index stands for. The [`applied`](Status::applied) of the replica that answered a write is
    /// such an index, and so is the position that the state machine was given with the command.
    pub fn read_at_least<T: Send + 'static>(
        &self,
        index: u64,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Pending<T, ReadError> {
        let (answer, pending) = Answer::new();
        let look = |machine: &M, _| look(machine);
        self.look(Look { look, answer }, |task| {
            self.handle.shell.call(Event::ReadAtLeast(index, task));
        });
        pending
    }

    /// Reads the state machine as it is here, without asking anybody: perhaps out of date, but also without a leader.
    /// The answer says of when it is.
    pub fn read_stale<T: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Pending<Stale<T>, ReadError> {
        let (answer, pending) = Answer::new();
        let out_of_contact = self.handle.shell.board.out_of_contact();
        let look = move |machine: &M, applied| Stale {
            value: look(machine),
            applied,
            out_of_contact,
        };
        self.look(Look { look, answer }, |task| {
            self.handle.shell.read_stale(task);
        });
        pending
    }

    /// A witness has nothing to look at.
    fn look(&self, task: impl ReadTask<M> + 'static, give: impl FnOnce(Box<dyn ReadTask<M>>)) {
        match M::is_witness() {
            true => Box::new(task).fail(ReadError::Witness),
            false => give(Box::new(task)),
        }
    }

    /// Its name.
    pub fn id(&self) -> ReplicaId {
        self.status().id
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.handle.shell.board.status()
    }

    /// Tells of every change of leadership and membership, and of the end.
    pub fn watch_status(&self) -> StatusWatch {
        self.handle.shell.board.watch()
    }

    /// Why it has stopped; `None` while it runs. A program should end with an error if this
    /// [is a failure](StopReason::is_failure).
    pub fn stopped(&self) -> Option<StopReason> {
        self.handle.shell.board.stop_reason()
    }

    /// Uses these timeouts from now on. All replicas should have the same.
    ///
    /// # Errors
    /// When they can't work together; nothing changes then.
    pub fn set_timing(&self, timing: Timing) -> Result<(), ConfigError> {
        timing.check()?;
        let input = Input::SetTiming(timing);
        self.handle.shell.call(Event::core(input));
        Ok(())
    }

    /// Hands leadership over to `to`, or to the voter that is furthest. Nothing happens unless this replica leads.
    /// Proposals wait meanwhile. It succeeds or is given up within an election timeout; the status tells.
    ///
    /// # Errors
    /// When `to` can't lead; nothing happens then.
    pub fn transfer_leadership(&self, to: Option<ReplicaId>) -> Result<(), TransferError> {
        to.map_or(Ok(()), |to| self.status().check_successor(to))?;
        let input = Input::Transfer { to };
        self.handle.shell.call(Event::core(input));
        Ok(())
    }

    /// Changes who belongs to the group, on any replica: see [`MemberChange`]. Ends with the membership as it is once the
    /// change is committed and complete, and those who were added as voters vote.
    ///
    /// ```no_run
    /// # use little_raft::{MemberChange, MembersError, Replica, StateMachine};
    /// # fn add<M: StateMachine>(replica: &Replica<M>) -> Result<(), MembersError> {
    /// replica.change_members(MemberChange::new().add(4, "10.0.0.4:7001")).wait()?;
    /// replica.change_members(MemberChange::new().remove(2)).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn change_members(&self, change: MemberChange) -> Pending<Membership, MembersError> {
        let (answer, pending) = Answer::new();
        let MemberChange {
            changes,
            expecting,
            within,
            awaits_voters,
        } = change;
        let request = ChangeRequest {
            changes,
            expecting,
            within,
            awaits_voters,
            answer,
        };
        let event = Event::ChangeMembers(Box::new(request));
        self.handle.shell.call(event);
        pending
    }

    /// The cluster's identity, for replicas that [join](crate::Builder::join) it.
    pub fn cluster_id(&self) -> u64 {
        self.handle.cluster_id
    }

    /// Stops in order: what is committed is applied and answered, what waits otherwise is ended as rule 9 allows,
    /// what was handed to the log is flushed, and all threads are gone when it returns. Called by the state machine
    /// itself, it returns at once and stops afterwards.
    pub fn stop(&self) {
        self.handle.shell.stop();
    }

    /// The largest command that can be proposed, in bytes.
    pub fn command_bytes_max(&self) -> usize {
        self.handle.command_bytes_max
    }

    pub(crate) fn new(shell: Arc<Shell<M>>, command_bytes_max: usize, cluster_id: u64) -> Self {
        Self {
            handle: Arc::new(Handle {
                shell,
                command_bytes_max,
                cluster_id,
            }),
        }
    }
}

impl<M: StateMachine> Clone for Replica<M> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl<M: StateMachine> fmt::Debug for Replica<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replica").field(&self.status()).finish()
    }
}

impl<M: StateMachine> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shell.stop();
    }
}

/// The terms of a proposal. The default is those of [`Replica::propose`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProposeOptions {
    /// It is appended only if these hold at the leader when it gets there: that it leads a certain term, that the
    /// membership has a certain version, that the log is not longer than it may be.
    pub conditions: Conditions,
    /// Its wait ends after so long at the latest: with [`NoLeader`](ProposeError::NoLeader) if it was given to none, and
    /// as [`Unknown`](ProposeError::Unknown) if it is on its way or in the log. Without it, a proposal looks for a leader
    /// for the builder's [`proposal_timeout`](Builder::proposal_timeout), and one that is in the log waits for its end.
    pub within: Option<Duration>,
    /// Which command of a [`Session`] it is, so that it is applied once however often it is tried.
    pub once: Option<Once>,
}

impl ProposeOptions {
    /// Applied once, under this name.
    pub fn once(once: Once) -> Self {
        Self {
            once: Some(once),
            ..Self::default()
        }
    }
}

/// What was read without asking anybody, and of when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale<T> {
    /// What was read.
    pub value: T,
    /// The state machine had applied all up to this index.
    pub applied: u64,
    /// When the read began, this replica had heard nothing of its group for so long: what others were told since may be
    /// missing.
    pub out_of_contact: Duration,
}

struct Look<F, T> {
    look: F,
    answer: Answer<T, ReadError>,
}

impl<M, T: Send, F: FnOnce(&M, u64) -> T + Send> ReadTask<M> for Look<F, T> {
    fn run(self: Box<Self>, machine: &M, applied: u64) {
        let Self { look, answer } = *self;
        // The closure is the caller's: if it panics, that is the end of this read only.
        let seen = catch_unwind(AssertUnwindSafe(|| look(machine, applied)));
        answer.send(seen.map_err(|_| ReadError::Panicked));
    }

    fn fail(self: Box<Self>, error: ReadError) {
        self.answer.send(Err(error));
    }
}

/// What can be proposed: anything that is bytes.
pub trait Command {
    /// The bytes; those that are owned are not copied.
    fn into_bytes(self) -> Bytes;
}

macro_rules! commands {
    (owned: $($owned:ty),*; copied: $($copied:ty),*) => {
        $(impl Command for $owned {
            fn into_bytes(self) -> Bytes {
                self.into()
            }
        })*
        $(impl Command for $copied {
            fn into_bytes(self) -> Bytes {
                Bytes::copy_from_slice(self.as_ref())
            }
        })*
    };
}

commands!(owned: Bytes, Vec<u8>, Box<[u8]>, String; copied: &[u8], &str);

impl<const N: usize> Command for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}
