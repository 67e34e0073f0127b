//! A replica with a state machine, or a witness without one: the same driver, and the same disk under it.

use std::fmt::Debug;
use std::io::{self, Read};
use std::marker::PhantomData;

use little_raft::driver::{Event, Progress, ReadTask};
use little_raft::{Entry, Membership, ReadError, ResponseCodec, StateMachine};
use little_raft_core::message::Body;
use little_raft_core::{Config, Now, Raft};

use super::disk::SimDisk;
use super::probe::Probe;
use super::replica::{Came, Part, Replica, Setup};
use crate::random::Random;

/// In place of the machine, as [`little_raft::Witness`]; its answers, which never come, are of the machine's type.
pub(super) struct Bare<M>(PhantomData<fn(M)>);

pub(super) enum Either<M: StateMachine<Response: Debug>> {
    Full(Box<Replica<Probe<M>>>),
    Witness(Box<Replica<Bare<M>>>),
}

/// That the log of a witness begins later than before.
pub(super) const DROPPED: &str = "a witness dropped what was settled";

/// What both can do.
macro_rules! each {
    ($either:expr, $it:ident => $what:expr) => {
        match $either {
            Either::Full($it) => $what,
            Either::Witness($it) => $what,
        }
    };
}

impl<M: StateMachine<Response: Debug>> Either<M> {
    /// Starts a witness on what the disk holds.
    pub(super) fn witness(
        disk: &SimDisk,
        setup: &Setup,
        config: impl FnOnce(Config) -> Config,
        now: Now,
    ) -> Result<Self, String> {
        let config = |it| Config {
            witness: true,
            ..config(it)
        };
        let started = Replica::start(disk, setup, Bare(PhantomData), config, now)?;
        Ok(Self::Witness(Box::new(started)))
    }

    /// Starts one with this machine.
    pub(super) fn full(
        disk: &SimDisk,
        setup: &Setup,
        machine: Probe<M>,
        config: impl FnOnce(Config) -> Config,
        now: Now,
    ) -> Result<Self, String> {
        let started = Replica::start(disk, setup, machine, config, now)?;
        Ok(Self::Full(Box::new(started)))
    }

    pub(super) fn raft(&self) -> &Raft {
        each!(self, it => it.engine.raft())
    }

    pub(super) fn progress(&self) -> Progress {
        each!(self, it => it.engine.progress())
    }

    pub(super) fn membership(&self) -> &Membership {
        each!(self, it => it.engine.membership())
    }

    pub(super) fn deadline(&self) -> u64 {
        each!(self, it => it.engine.deadline())
    }

    pub(super) fn has_work(&self, part: Part) -> bool {
        each!(self, it => it.has_work(part))
    }

    pub(super) fn rest(&mut self) -> Result<(), String> {
        each!(self, it => it.rest())
    }

    pub(super) fn end_in_the_middle(self, disk: &SimDisk, random: &mut Random) {
        each!(self, it => it.end_in_the_middle(disk, random));
    }

    /// How far it is; for a witness, all that it has committed durably.
    pub(super) fn applied(&self) -> u64 {
        match self {
            Self::Full(it) => it.applied(),
            Self::Witness(it) => {
                let progress = it.engine.progress();
                progress.committed.min(progress.durable)
            }
        }
    }

    pub(super) fn give(&mut self, event: Event<Probe<M>>) {
        match self {
            Self::Full(it) => it.give(event),
            Self::Witness(it) => it.give(for_witness(event)),
        }
    }

    /// Lets one part do what is its turn. An error is the end of this start.
    pub(super) fn run(
        &mut self,
        part: Part,
        now: Now,
        random: &mut Random,
    ) -> Result<Came, String> {
        let witness = match self {
            Self::Full(it) => return it.run(part, now, random),
            Self::Witness(it) => it,
        };
        let raft = witness.engine.raft();
        let (base, last) = (raft.base().index, raft.last().index);
        let mut came = witness.run(part, now, random)?;
        let begins = witness.engine.raft().base().index;
        let supplies = |message: &little_raft::Message| matches!(message.body, Body::Supply(_));
        if came.messages.iter().any(supplies) {
            came.noted = Some("a candidate was supplied by a witness");
        } else if begins > last {
            came.noted = Some("a witness was told where to begin");
        } else if begins > base {
            came.noted = Some(DROPPED);
        }
        Ok(came)
    }
}

fn for_witness<M: StateMachine<Response: Debug>>(event: Event<Probe<M>>) -> Event<Bare<M>> {
    match event {
        Event::Wake => Event::Wake,
        Event::Propose(proposal) => Event::Propose(proposal),
        Event::ChangeMembers(request) => Event::ChangeMembers(request),
        Event::Read(task) => Event::Read(Box::new(Refused(task))),
        Event::ReadAtLeast(index, task) => Event::ReadAtLeast(index, Box::new(Refused(task))),
        Event::Applied(applied) => Event::Applied(applied),
        Event::Saved(base) => Event::Saved(base),
        Event::Core(input) => Event::Core(input),
    }
}

struct Refused<M>(Box<dyn ReadTask<Probe<M>>>);

impl<M> ReadTask<Bare<M>> for Refused<M> {
    fn run(self: Box<Self>, _: &Bare<M>, applied: u64) {
        unreachable!("a witness serves no reads, not at {applied}")
    }
    fn fail(self: Box<Self>, error: ReadError) {
        self.0.fail(error);
    }
}

impl<M: StateMachine<Response: Debug>> StateMachine for Bare<M> {
    type Response = M::Response;
    type Snapshot = M::Snapshot;

    fn apply(&mut self, entry: Entry<'_>) -> M::Response {
        unreachable!("a witness applies nothing, not {}", entry.position)
    }

    fn snapshot(&self) -> io::Result<M::Snapshot> {
        Err(io::Error::other("a witness has no state"))
    }

    fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> {
        Err(io::Error::other("a witness has no state"))
    }

    fn response_codec() -> Option<ResponseCodec<M::Response>> {
        M::response_codec()
    }

    fn is_witness() -> bool {
        true
    }
}
