//! What clients ask of replicas, and what each answer must be.

use std::fmt::Debug;
use std::time::Duration;

use little_raft::driver::{Event, Proposal, ReadTask, SessionCommand, Terms, Waiter};
use little_raft::{Answer, Bytes, Once, Pending, ProposeError, ReadError, Session, StateMachine};
use little_raft_core::{Codec, EntryKind};

use super::ledger::SharedLedger;
use super::probe::{Probe, tagged};
use crate::random::Random;

/// One operation that is under way.
pub(super) enum Operation<M: StateMachine> {
    Command {
        tag: u64,
        pending: Pending<M::Response, ProposeError>,
    },
    Together {
        tags: Vec<u64>,
        pending: Pending<Vec<M::Response>, ProposeError>,
    },
    Once {
        tag: u64,
        once: Once,
        command: Bytes,
        pending: Pending<M::Response, ProposeError>,
    },
    Register(Pending<Session, ProposeError>),
    Read {
        /// What was answered before the read began ends here.
        floor: u64,
        pending: Pending<u64, ReadError>,
    },
}

/// All that is under way, and what is known by now.
pub(super) struct Clients<M: StateMachine> {
    pub(super) open: Vec<Operation<M>>,
    ledger: SharedLedger,
    next_tag: u64,
    /// Everything that was answered stands at or below this index.
    answered: u64,
    /// Certainly not applied.
    never: Vec<u64>,
    session: Option<Session>,
    /// To be tried again: a command whose outcome is unknown.
    again: Vec<(u64, Once, Bytes)>,
    pub(super) counts: Counts,
}

/// How operations ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) applied: u64,
    pub(super) not_applied: u64,
    pub(super) unknown: u64,
    pub(super) reads: u64,
    pub(super) retries: u64,
}

struct Look(Answer<u64, ReadError>);

impl<M> ReadTask<Probe<M>> for Look {
    fn run(self: Box<Self>, _: &Probe<M>, applied: u64) {
        self.0.send(Ok(applied));
    }
    fn fail(self: Box<Self>, error: ReadError) {
        self.0.send(Err(error));
    }
}

impl<M: StateMachine<Response: Debug>> Clients<M> {
    pub(super) fn new(ledger: SharedLedger) -> Self {
        Self {
            open: Vec::new(),
            ledger,
            next_tag: 1,
            answered: 0,
            never: Vec::new(),
            session: None,
            again: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The next operation, for some replica.
    pub(super) fn ask(
        &mut self,
        random: &mut Random,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> Event<Probe<M>> {
        let has_sessions = M::response_codec().is_some();
        let (event, operation) = match random.below(10) {
            0..=1 => self.read(),
            2 => self.together(random, workload),
            3..=6 if has_sessions => self.once(random, workload),
            _ => self.command(random, workload),
        };
        self.open.push(operation);
        event
    }

    fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag - 1
    }

    fn read(&mut self) -> (Event<Probe<M>>, Operation<M>) {
        let (answer, pending) = Answer::new();
        let floor = self.answered;
        let event = Event::Read(Box::new(Look(answer)));
        (event, Operation::Read { floor, pending })
    }

    fn command(
        &mut self,
        random: &mut Random,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> (Event<Probe<M>>, Operation<M>) {
        let (tag, (answer, pending)) = (self.tag(), Answer::new());
        let mut proposal = Proposal::command(tagged(tag, &workload(random)), answer);
        if random.chance(200) {
            proposal.terms = Some(Box::new(Terms {
                within: Some(Duration::from_millis(random.between(1, 500))),
                ..Terms::default()
            }));
        }
        (
            Event::Propose(proposal),
            Operation::Command { tag, pending },
        )
    }

    fn together(
        &mut self,
        random: &mut Random,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> (Event<Probe<M>>, Operation<M>) {
        let tags: Vec<u64> = (0..random.between(1, 4)).map(|_| self.tag()).collect();
        let commands = tags.iter().map(|tag| tagged(*tag, &workload(random)));
        let commands: Vec<Bytes> = commands.collect();
        let (answer, pending) = Answer::new();
        let waiter = Waiter::Responses(answer);
        let proposal = Proposal::new(EntryKind::Commands, commands.to_bytes(), waiter);
        (
            Event::Propose(proposal),
            Operation::Together { tags, pending },
        )
    }

    /// A command under the session, perhaps one of before; or a session first.
    fn once(
        &mut self,
        random: &mut Random,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> (Event<Probe<M>>, Operation<M>) {
        let Some(session) = &mut self.session else {
            let (answer, pending) = Answer::new();
            let payload = SessionCommand::Register.to_bytes();
            let proposal = Proposal::new(EntryKind::Session, payload, Waiter::Session(answer));
            return (Event::Propose(proposal), Operation::Register(pending));
        };
        let (tag, once, command) = match self.again.pop() {
            Some(again) => {
                self.counts.retries += 1;
                again
            }
            None => {
                let once = session.once();
                let tag = self.tag();
                (tag, once, tagged(tag, &workload(random)))
            }
        };
        let (answer, pending) = Answer::new();
        let payload = SessionCommand::Once(once, EntryKind::Command, command.clone());
        let waiter = Waiter::Response(answer);
        let proposal = Proposal::new(EntryKind::Session, payload.to_bytes(), waiter);
        let operation = Operation::Once {
            tag,
            once,
            command,
            pending,
        };
        (Event::Propose(proposal), operation)
    }

    /// Looks whether operations have ended, and whether as they may.
    pub(super) fn look(&mut self) {
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].is_ready() {
                let ended = self.open.swap_remove(at);
                self.ended(ended);
            } else {
                at += 1;
            }
        }
    }

    fn ended(&mut self, operation: Operation<M>) {
        match operation {
            Operation::Command { tag, pending } => match pending.wait() {
                Ok(response) => self.applied(tag, &response),
                Err(error) => self.failed(&[tag], error),
            },
            Operation::Together { tags, pending } => match pending.wait() {
                Ok(responses) => {
                    let pairs = tags.iter().zip(&responses);
                    pairs.for_each(|(tag, response)| self.applied(*tag, response));
                }
                Err(error) => self.failed(&tags, error),
            },
            Operation::Once {
                tag,
                once,
                command,
                pending,
            } => match pending.wait() {
                Ok(response) => {
                    self.applied(tag, &response);
                    self.session.iter_mut().for_each(|known| known.settle(once));
                }
                // Whether an earlier attempt was applied, this one's error doesn't tell.
                Err(ProposeError::SessionExpired { .. }) => self.session = None,
                Err(_) => self.again.push((tag, once, command)),
            },
            Operation::Register(pending) => {
                self.session = pending.wait().ok().or(self.session.take())
            }
            Operation::Read { floor, pending } => {
                if let Ok(applied) = pending.wait() {
                    self.counts.reads += 1;
                    if applied < floor {
                        let text = format!(
                            "one saw all up to {applied}, but {floor} was answered before it began"
                        );
                        self.violate("fresh reads", text);
                    }
                }
            }
        }
    }

    fn applied(&mut self, tag: u64, response: &M::Response) {
        self.counts.applied += 1;
        let said = format!("{response:?}");
        let mut ledger = self.ledger.open();
        let problem = match ledger.find(tag) {
            None => Some(format!(
                "command {tag} was answered, and nobody has applied it"
            )),
            Some((index, known)) => {
                self.answered = self.answered.max(index);
                (known != said).then(|| {
                    format!("command {tag} was answered {said}, and applying it gave {known}")
                })
            }
        };
        problem
            .into_iter()
            .for_each(|text| ledger.violate("answers", text));
    }

    fn failed(&mut self, tags: &[u64], error: ProposeError) {
        if error.is_unknown() {
            self.counts.unknown += 1;
        } else {
            self.counts.not_applied += 1;
            self.never.extend(tags);
        }
    }

    fn violate(&self, invariant: &'static str, text: String) {
        self.ledger.open().violate(invariant, text);
    }

    /// At the end: what was said not to be applied never was, and all that was answered is there.
    pub(super) fn check(&self, applied: u64) {
        if applied < self.answered {
            let answered = self.answered;
            let text = format!("all ends at {applied}, but {answered} was answered: it is lost");
            self.violate("durability", text);
        }
        let mut ledger = self.ledger.open();
        let lied = self.never.iter().find(|tag| ledger.find(**tag).is_some());
        if let Some(tag) = lied {
            let text = format!("command {tag} was said not to be applied, and is");
            ledger.violate("outcome", text);
        }
    }
}

impl<M: StateMachine> Operation<M> {
    fn is_ready(&self) -> bool {
        match self {
            Self::Command { pending, .. } | Self::Once { pending, .. } => pending.is_ready(),
            Self::Together { pending, .. } => pending.is_ready(),
            Self::Register(pending) => pending.is_ready(),
            Self::Read { pending, .. } => pending.is_ready(),
        }
    }
}
