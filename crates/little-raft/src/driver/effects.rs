//! What goes into an engine, and what comes out of it.

use std::sync::Arc;

use little_raft_core::{
    Base, Event as Observed, Input, Message, Outputs, SendPiece, SendSnapshot, Sent, Write,
};

use super::applier::{Applied, ApplyWork};
use super::changes::{ChangeRequest, Ended};
use super::reads::{FailedRead, ReadTask};
use super::store::StoreWork;
use super::waiters::{Ending, Proposal};
use crate::machine::StateMachine;
use crate::pending::Limit;

/// One thing that happened to a replica.
pub enum Event<M: StateMachine> {
    /// Time passed.
    Wake,
    /// Somebody proposed.
    Propose(Proposal<M::Response>),
    /// Somebody wants to change the members.
    ChangeMembers(Box<ChangeRequest>),
    /// Somebody wants to read.
    Read(Box<dyn ReadTask<M>>),
    /// Somebody wants to read once this index is applied.
    ReadAtLeast(u64, Box<dyn ReadTask<M>>),
    /// A piece of work on the state machine is done.
    Applied(Applied<M::Response>),
    /// A snapshot was saved, or could not be.
    Saved(Option<Base>),
    /// Anything the core knows by itself. Boxed: events are moved more often than this is made.
    Core(Box<Input>),
}

impl<M: StateMachine> Event<M> {
    /// Something that the core knows by itself.
    pub fn core(input: Input) -> Self {
        Self::Core(Box::new(input))
    }
}

/// All that has to be done after some events. The fields may be worked on in any order; each one in its own order.
pub struct Effects<M: StateMachine> {
    /// To send.
    pub messages: Vec<Message>,
    /// To make durable; then tell the core [`Input::Flushed`].
    pub write: Option<Write>,
    /// For the applier, in this order.
    pub apply: Vec<ApplyWork<M>>,
    /// For the store.
    pub store: Vec<StoreWork>,
    /// Transfers that begin: go on with what was sent to that follower before, or ask the applier for a
    /// [`Source`](ApplyWork::Source).
    pub begun: Vec<SendSnapshot>,
    /// Pieces that may be sent.
    pub pieces: Vec<SendPiece>,
    /// Transfers that are over.
    pub ended: Vec<Sent>,
    /// Waits that have ended.
    pub endings: Vec<Ending<M::Response>>,
    /// Waits whose time is over; those in `endings` come first.
    pub(crate) expired: Vec<Arc<dyn Limit>>,
    /// Reads that have failed.
    pub failed_reads: Vec<FailedRead<M>>,
    /// Changes of members that have ended.
    pub changed: Vec<Ended>,
    /// The replica is no longer a member: it must stop.
    pub is_removed: bool,
    /// To its group the replica is a witness and it was started as none, or the other way round: it must stop.
    pub is_misfit: bool,
}

impl<M: StateMachine> Effects<M> {
    /// Tells everybody whose wait has ended. Call it with no lock held.
    pub fn end_waits(&mut self) {
        for (waiter, ended) in self.endings.drain(..) {
            waiter.send(ended);
        }
        self.expired.drain(..).for_each(|wait| wait.expire());
        for (task, error) in self.failed_reads.drain(..) {
            task.fail(error);
        }
        for (answer, outcome) in self.changed.drain(..) {
            answer.send(outcome);
        }
    }

    /// Whether anybody's wait has ended, but by what is applied.
    pub fn is_about_waits(&self) -> bool {
        !(self.endings.is_empty()
            && self.expired.is_empty()
            && self.failed_reads.is_empty()
            && self.changed.is_empty())
    }

    /// Whether there is anything for the store or about transfers.
    pub fn is_about_stragglers(&self) -> bool {
        !(self.store.is_empty()
            && self.begun.is_empty()
            && self.pieces.is_empty()
            && self.ended.is_empty())
    }

    /// Takes over what most steps cause none of: one look spares the lists one by one.
    pub(super) fn take_rare(&mut self, outputs: &mut Outputs) {
        if !is_anything_rare(outputs) {
            return;
        }
        for event in outputs.events.drain(..) {
            self.is_removed |= event == Observed::Removed;
            self.is_misfit |= event == Observed::Misfit;
            log_event(event);
        }
        self.begun.append(&mut outputs.send_snapshot);
        self.pieces.append(&mut outputs.send_piece);
        self.ended.append(&mut outputs.sent);
        let fetches = outputs.fetch.drain(..).map(StoreWork::Fetch);
        self.store.extend(fetches);
        let pieces = outputs.pieces.drain(..).map(StoreWork::Piece);
        self.store.extend(pieces);
    }
}

impl<M: StateMachine> Default for Effects<M> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            write: None,
            apply: Vec::new(),
            store: Vec::new(),
            begun: Vec::new(),
            pieces: Vec::new(),
            ended: Vec::new(),
            endings: Vec::new(),
            expired: Vec::new(),
            failed_reads: Vec::new(),
            changed: Vec::new(),
            is_removed: false,
            is_misfit: false,
        }
    }
}

fn is_anything_rare(outputs: &Outputs) -> bool {
    !(outputs.events.is_empty()
        && outputs.send_snapshot.is_empty()
        && outputs.send_piece.is_empty()
        && outputs.sent.is_empty()
        && outputs.fetch.is_empty()
        && outputs.pieces.is_empty())
}

fn log_event(event: Observed) {
    match event {
        Observed::Leadership {
            term,
            leader,
            state,
        } => tracing::info!(term, ?leader, ?state, "leadership changed"),
        Observed::SteppedDown(why) => tracing::warn!(?why, "stepped down"),
        Observed::Ignored { from, reason } => {
            tracing::warn!(%from, ?reason, "a message was not listened to");
        }
        other => tracing::info!(?other, "event"),
    }
}
