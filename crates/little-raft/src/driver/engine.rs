//! The algorithm, joined to those who wait for its answers.

use std::collections::VecDeque;
use std::time::Duration;

use little_raft_core::{
    Apply, Base, Codec, Config, ConfigError, EntryKind, Input, Membership, Now, Position, Raft,
    Refusal, ReplicaId, Restored, State, Timing, planted,
};

use super::applier::{Applied, ApplyWork, Batch};
use super::changes::Changes;
use super::digests::DigestCommand;
use super::effects::{Effects, Event};
use super::limits::Limits;
use super::log_writer::LogOutcome;
use super::reads::{ReadTask, Reads};
use super::waiters::{Proposal, Proposals, checksum};
use crate::error::{ProposeError, ReadError};
use crate::machine::StateMachine;

/// The engine's own limits.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// How long a proposal or a read looks for a leader.
    pub proposal_timeout: Duration,
    /// How many proposals may wait for a leader.
    pub parked_count_max: usize,
    /// How many bytes of them.
    pub parked_bytes_max: usize,
    /// How many reads may be open at once.
    pub reads_count_max: usize,
    /// How many entries a durable machine leaves in the log, for followers that lag.
    pub tail_entries: u64,
    /// How many more are kept for a follower that is catching up.
    pub held_entries_max: u64,
    /// How often a leader has the replicas compare digests of their state machines, if these have any.
    pub digest_interval: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            proposal_timeout: Duration::from_secs(5),
            parked_count_max: 1 << 16,
            parked_bytes_max: 64 << 20,
            reads_count_max: 1 << 16,
            tail_entries: 10_000,
            held_entries_max: 100_000,
            digest_interval: Duration::from_secs(20),
        }
    }
}

/// How long to wait before the core is asked again after a refusal, if nothing changes meanwhile.
const RETRY: u64 = 20_000_000;
/// After how long an unanswered read is asked about again: a message may have been lost.
const READ_AGAIN: u64 = 400_000_000;
/// A durable machine's log is compacted in steps of at least so many entries, or of the tail that is left in it.
const COMPACT_STEP: u64 = 1_000;

/// The algorithm and who waits for it. See the module's documentation for how to run one.
pub struct Engine<M: StateMachine> {
    raft: Raft,
    config: EngineConfig,
    proposals: Proposals<M::Response>,
    reads: Reads<M>,
    /// Proposals that wait for a leader, in order of arrival.
    parked: VecDeque<Proposal<M::Response>>,
    parked_bytes: usize,
    /// The earliest deadline among them.
    parked_deadline: u64,
    /// Proposals whose waits end at times of their own.
    limits: Limits,
    /// Not before this time is the core asked about what is parked, unless leadership changes.
    retry_at: u64,
    leader: Option<ReplicaId>,
    /// When to have digests taken; `u64::MAX` if we don't lead, or the machine has none.
    digest_at: u64,
    has_digests: bool,
    /// The indices of the two newest snapshots.
    saved: VecDeque<u64>,
    compacted: u64,
    /// To where the log could be cut, but for followers that still need it.
    compactable: u64,
    /// The core's answers, moved here to be worked off: reused.
    proposed: Vec<(u64, Result<Position, Refusal>)>,
    confirmed: Vec<(u64, Result<u64, Refusal>)>,
    changes: Changes,
    effects: Effects<M>,
}

impl<M: StateMachine> Engine<M> {
    /// An engine that goes on from `restored`, with a machine that has applied up to `applied`, and snapshots at the
    /// indices `saved` (oldest first).
    ///
    /// # Errors
    /// When the core refuses the configuration.
    pub fn new(
        config: Config,
        engine: EngineConfig,
        restored: Restored,
        applied: u64,
        saved: impl IntoIterator<Item = u64>,
        now: Now,
    ) -> Result<Self, ConfigError> {
        let base = restored.base.position.index;
        let mut raft = Raft::new(config, restored, now)?;
        if applied > base {
            raft.step(now, Input::Applied { index: applied });
        }
        Ok(Self {
            raft,
            config: engine,
            proposals: Proposals::new(applied),
            reads: Reads::default(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            parked_deadline: u64::MAX,
            limits: Limits::default(),
            retry_at: 0,
            leader: None,
            digest_at: u64::MAX,
            has_digests: false,
            saved: saved.into_iter().collect(),
            compacted: base,
            compactable: base,
            proposed: Vec::new(),
            confirmed: Vec::new(),
            changes: Changes::default(),
            effects: Effects::default(),
        })
    }

    /// The state machine has digests to be compared.
    pub fn compare_digests(&mut self) {
        self.has_digests = true;
    }

    /// Something happened. Any number of events may be given before the [`effects`](Self::effects) are asked for:
    /// what they have in common is then done once.
    pub fn step(&mut self, now: Now, event: Event<M>) {
        match event {
            Event::Wake => {
                self.raft.step(now, Input::Wake);
                self.expire(now.monotonic);
                self.compare_if_due(now);
                if self.compacted < self.compactable {
                    self.compact(now, self.compactable);
                }
            }
            Event::Propose(proposal) => self.propose(now, proposal),
            Event::ChangeMembers(change) => self.changes.add(now, *change),
            Event::Read(task) => self.read(now, task),
            Event::ReadAtLeast(index, task) => self.read_at_least(now, index, task),
            Event::Applied(applied) => self.applied(now, applied),
            Event::Saved(base) => self.saved(now, base),
            Event::Core(input) => self.raft.step(now, *input),
        }
    }

    /// A write that needs no thread of its own is done.
    pub fn written(&mut self, now: Now, outcome: &LogOutcome) {
        for input in outcome.inputs() {
            self.raft.step(now, input);
        }
    }

    /// What has to be done after the events so far: take all of it out, and leave the lists to be filled again. What
    /// is left there goes on waiting.
    pub fn effects(&mut self, now: Now) -> &mut Effects<M> {
        self.ask_again(now);
        self.digest(now);
        self.look_at_changes(now);
        &mut self.effects
    }

    /// What the last [`effects`](Self::effects) have left, as it is.
    pub fn effects_so_far(&mut self) -> &mut Effects<M> {
        &mut self.effects
    }

    /// When [`Event::Wake`] is due; `u64::MAX` for never. Waking too early or too often changes nothing.
    pub fn deadline(&self) -> u64 {
        let waits_for_retry = self.leader.is_some() && self.has_parked();
        let retry = if waits_for_retry {
            self.retry_at
        } else {
            u64::MAX
        };
        self.raft
            .deadline()
            .min(retry)
            .min(self.parked_deadline)
            .min(self.proposals.deadline())
            .min(self.limits.deadline())
            .min(self.reads.deadline())
            .min(self.changes.deadline())
            .min(self.digest_at)
    }

    /// The algorithm, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The last index the state machine has reported.
    pub fn applied_index(&self) -> u64 {
        self.proposals.applied_index()
    }

    /// Whether the next [`Event::Applied`] lets something go on. If not, it can wait for another event to come.
    pub fn awaits_applied(&self) -> bool {
        let may_be_handed = self.raft.committed().min(self.raft.durable());
        self.proposals.handed() < may_be_handed || self.proposals.awaits_applied()
    }

    /// How many proposals and reads have not ended.
    pub fn open(&self) -> usize {
        self.proposals.open() + self.parked.len() + self.reads.open() + self.changes.len()
    }

    /// The end: everybody who waits is answered as far as rule 9 allows. Proposals in the log end as unknown when
    /// the engine is dropped.
    pub fn stop(&mut self) -> Effects<M> {
        let mut effects = std::mem::take(&mut self.effects);
        let parked = self.parked.drain(..);
        effects
            .endings
            .extend(parked.map(|p| (p.waiter, Err(ProposeError::Stopped))));
        self.reads
            .fail_all(ReadError::Stopped, &mut effects.failed_reads);
        effects.changed.extend(self.changes.stop());
        effects
    }

    fn propose(&mut self, now: Now, mut proposal: Proposal<M::Response>) {
        let within = proposal.terms.as_ref().and_then(|terms| terms.within);
        let timeout = within.unwrap_or(self.config.proposal_timeout);
        proposal.deadline = now.monotonic.saturating_add(nanos(timeout));
        if let Some(limit) = within.and_then(|_| proposal.waiter.limit()) {
            self.limits.add(proposal.deadline, limit);
        }
        if self.raft.leader().is_none() || !self.parked.is_empty() {
            self.park(proposal);
        } else {
            self.ask(now, proposal);
        }
    }

    fn ask(&mut self, now: Now, proposal: Proposal<M::Response>) {
        let ticket = self.proposals.next_ticket();
        let terms = proposal.terms.as_ref();
        let proposed = little_raft_core::Proposal {
            kind: proposal.kind,
            checksum: proposal.checksum,
            payload: proposal.payload.clone(),
            conditions: terms.map_or_else(Default::default, |terms| terms.conditions),
        };
        match self.raft.propose(now, ticket, proposed) {
            Some(answer) => self.place(now, proposal, answer),
            None => self.proposals.ask(ticket, proposal),
        }
    }

    fn park(&mut self, proposal: Proposal<M::Response>) {
        let bytes = self.parked_bytes + proposal.payload.len();
        let full = self.parked.len() >= self.config.parked_count_max;
        if full || bytes > self.config.parked_bytes_max {
            self.effects
                .endings
                .push((proposal.waiter, Err(ProposeError::Busy)));
            return;
        }
        self.parked_bytes = bytes;
        self.parked_deadline = self.parked_deadline.min(proposal.deadline);
        self.parked.push_back(proposal);
    }

    fn read(&mut self, now: Now, task: Box<dyn ReadTask<M>>) {
        if self.reads.open() >= self.config.reads_count_max {
            self.effects.failed_reads.push((task, ReadError::Busy));
            return;
        }
        let deadline = now
            .monotonic
            .saturating_add(nanos(self.config.proposal_timeout));
        if self.raft.leader().is_none() || self.reads.has_parked() {
            self.reads.park(deadline, task);
        } else {
            self.ask_read(now, deadline, task);
        }
    }

    fn read_at_least(&mut self, now: Now, index: u64, task: Box<dyn ReadTask<M>>) {
        if self.reads.open() >= self.config.reads_count_max {
            self.effects.failed_reads.push((task, ReadError::Busy));
            return;
        }
        let timeout = nanos(self.config.proposal_timeout);
        let deadline = now.monotonic.saturating_add(timeout);
        self.reads.await_index(index, deadline, task);
    }

    fn ask_read(&mut self, now: Now, deadline: u64, task: Box<dyn ReadTask<M>>) {
        let ticket = self.proposals.next_ticket();
        self.raft.step(now, Input::Read { ticket });
        let again = now.monotonic.saturating_add(READ_AGAIN);
        self.reads.ask(ticket, again, deadline, task);
    }

    /// Asks the core about what is parked, once a leader is known.
    fn ask_again(&mut self, now: Now) {
        let leader = self.raft.leader();
        if leader != self.leader {
            self.leader = leader;
            self.retry_at = 0;
            self.schedule_digest(now);
        }
        if self.has_parked() || !self.changes.is_empty() {
            self.ask_waiting(now);
        }
    }

    fn schedule_digest(&mut self, now: Now) {
        let leads = self.leader == Some(self.raft.config().id);
        self.digest_at = match leads && self.has_digests {
            true => now
                .monotonic
                .saturating_add(nanos(self.config.digest_interval)),
            false => u64::MAX,
        };
    }

    fn compare_if_due(&mut self, now: Now) {
        if self.digest_at <= now.monotonic {
            self.schedule_digest(now);
            self.say(now, DigestCommand::Take);
        }
    }

    /// Proposes it, and waits for nothing: what is lost is said again another time, about another index.
    fn say(&mut self, now: Now, command: DigestCommand) {
        let payload = command.to_bytes();
        let proposal = little_raft_core::Proposal {
            kind: EntryKind::Digest,
            ..little_raft_core::Proposal::command(checksum(&payload), payload)
        };
        let ticket = self.proposals.next_ticket();
        self.raft.step(now, Input::Propose { ticket, proposal });
    }

    fn ask_waiting(&mut self, now: Now) {
        if !self.changes.is_empty() {
            let proposals = &mut self.proposals;
            self.changes
                .propose(now, &mut self.raft, || proposals.next_ticket());
        }
        if self.leader.is_none() || !self.has_parked() || now.monotonic < self.retry_at {
            return;
        }
        self.retry_at = now.monotonic.saturating_add(RETRY);
        self.parked_bytes = 0;
        self.parked_deadline = u64::MAX;
        for proposal in std::mem::take(&mut self.parked) {
            self.ask(now, proposal);
        }
        while let Some((deadline, task)) = self.reads.unpark() {
            self.ask_read(now, deadline, task);
        }
    }

    fn look_at_changes(&mut self, now: Now) {
        if !self.changes.is_empty() {
            self.changes
                .look(now, &self.raft, &mut self.effects.changed);
        }
    }

    fn has_parked(&self) -> bool {
        !self.parked.is_empty() || self.reads.has_parked()
    }

    fn expire(&mut self, now: u64) {
        self.proposals.expire(now, &mut self.effects.endings);
        self.reads.expire(now, &mut self.effects.failed_reads);
        self.limits.due(now, &mut self.effects.expired);
        if self.parked_deadline > now {
            return;
        }
        self.parked_bytes = 0;
        self.parked_deadline = u64::MAX;
        for proposal in std::mem::take(&mut self.parked) {
            if proposal.deadline <= now {
                self.effects
                    .endings
                    .push((proposal.waiter, Err(ProposeError::NoLeader)));
            } else {
                self.park(proposal);
            }
        }
    }

    fn applied(&mut self, now: Now, applied: Applied<M::Response>) {
        let (index, durable) = (applied.index, applied.durable);
        if let Some(taken) = &applied.taken {
            let us = self.raft.config().id;
            self.say(now, DigestCommand::Taken(us, **taken));
        }
        self.proposals.applied(applied, &mut self.effects.endings);
        self.raft.step(now, Input::Applied { index });
        if let Some(durable) = durable {
            // A durable machine needs no log below what it would keep in a crash.
            self.compact(now, durable.saturating_sub(self.config.tail_entries));
        }
    }

    fn saved(&mut self, now: Now, base: Option<Base>) {
        self.effects.apply.push(ApplyWork::Saved(base.clone()));
        if let Some(base) = base {
            self.remember_snapshot(base.position.index);
            // Up to the older of the two: if the newer one turns out damaged, the older and the log serve.
            if self.saved.len() == 2 {
                self.compact(now, self.saved[0]);
            }
        }
    }

    fn remember_snapshot(&mut self, index: u64) {
        self.saved.push_back(index);
        while self.saved.len() > 2 {
            self.saved.pop_front();
        }
    }

    /// A follower that is catching up keeps the log it needs, up to a bound: else it would need a snapshot instead, and
    /// another after that.
    fn compact(&mut self, now: Now, index: u64) {
        self.compactable = self.compactable.max(index);
        let least = index.saturating_sub(self.config.held_entries_max);
        let needed = self.raft.slowest_follower().unwrap_or(index);
        let index = index.min(needed.max(least));
        let step = COMPACT_STEP.min(self.config.tail_entries);
        let worth_it = self.saved.contains(&index) || index >= self.compacted + step;
        if index > self.compacted && worth_it {
            self.compacted = index;
            self.raft.step(now, Input::Compact { index });
        }
    }

    fn digest(&mut self, now: Now) {
        let outputs = self.raft.outputs_in_place(now);
        let effects = &mut self.effects;
        if effects.messages.is_empty() {
            std::mem::swap(&mut effects.messages, &mut outputs.messages);
        } else {
            effects.messages.append(&mut outputs.messages);
        }
        if outputs.write.is_some() {
            effects.write = outputs.write.take();
        }
        effects.take_rare(outputs);
        let apply = std::mem::take(&mut outputs.apply);
        let install = match outputs.install {
            Some(_) => outputs.install.take().map(Box::new),
            None => None,
        };
        std::mem::swap(&mut self.confirmed, &mut outputs.reads);
        // Positions before entries: who waits for an entry goes to the applier with it.
        if !outputs.proposed.is_empty() {
            std::mem::swap(&mut self.proposed, &mut outputs.proposed);
            self.place_proposed(now);
        }
        if let Some(base) = install {
            self.install(*base);
        }
        self.hand_over(apply);
        self.serve_confirmed();
    }

    fn place_proposed(&mut self, now: Now) {
        let mut proposed = std::mem::take(&mut self.proposed);
        for (ticket, outcome) in proposed.drain(..) {
            match self.proposals.answered(ticket) {
                Some(proposal) => self.place(now, proposal, outcome),
                None => self
                    .changes
                    .answered(now, ticket, outcome, &mut self.effects.changed),
            }
        }
        self.proposed = proposed;
    }

    fn place(
        &mut self,
        now: Now,
        proposal: Proposal<M::Response>,
        outcome: Result<Position, Refusal>,
    ) {
        match outcome {
            Ok(position) => {
                self.proposals
                    .place(position, proposal.waiter, &mut self.effects.endings);
            }
            Err(Refusal::NoLeader | Refusal::Transferring) if proposal.deadline > now.monotonic => {
                self.retry_at = self.retry_at.max(now.monotonic.saturating_add(RETRY));
                self.park(proposal);
            }
            Err(refusal) => self
                .effects
                .endings
                .push((proposal.waiter, Err(refusal.into()))),
        }
    }

    fn install(&mut self, base: Base) {
        let index = base.position.index;
        self.proposals
            .overtaken(base.position, &mut self.effects.endings);
        self.remember_snapshot(index);
        self.compacted = self.compacted.max(index);
        self.effects.apply.push(ApplyWork::Install(base));
    }

    fn hand_over(&mut self, apply: Apply) {
        let last = match &apply {
            Apply::Nothing => return,
            Apply::Entries(entries) => match entries.last() {
                Some(entry) => entry.position.index,
                None => return,
            },
            Apply::Stored { last, .. } => *last,
        };
        let term = self.raft.term_at(last).unwrap_or(0);
        let last = Position::new(last, term);
        let endings = &mut self.effects.endings;
        let batch = Batch {
            waiters: self.proposals.hand_over(last, endings),
            keep: self.proposals.keep_for(),
            apply,
        };
        self.effects.apply.push(ApplyWork::Batch(batch));
    }

    fn serve_confirmed(&mut self) {
        for (ticket, outcome) in self.confirmed.drain(..) {
            match outcome {
                Ok(index) => self.reads.confirmed(ticket, index),
                Err(_) => self.reads.refused(ticket),
            }
        }
        if !self.reads.is_any_confirmed() {
            return;
        }
        let handed = planted!(P39, u64::MAX, self.proposals.handed());
        let ready = self.reads.ready(handed);
        if !ready.is_empty() {
            self.effects.apply.push(ApplyWork::Reads(ready));
        }
    }
}

/// What of the algorithm's state is shown to users, without what rarely changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Our part.
    pub state: State,
    /// The term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<ReplicaId>,
    /// The end of the log.
    pub last: u64,
    /// What is durable of it.
    pub durable: u64,
    /// What is committed.
    pub committed: u64,
    /// When the group was last heard, on the monotonic clock.
    pub contact: u64,
    /// The timeouts.
    pub timing: Timing,
}

impl<M: StateMachine> Engine<M> {
    /// The state in numbers.
    pub fn progress(&self) -> Progress {
        Progress {
            state: self.raft.state(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            last: self.raft.last().index,
            durable: self.raft.durable(),
            committed: self.raft.committed(),
            contact: self.raft.contact(),
            timing: self.raft.config().timing,
        }
    }

    /// Who belongs to the group.
    pub fn membership(&self) -> &Membership {
        self.raft.membership()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
