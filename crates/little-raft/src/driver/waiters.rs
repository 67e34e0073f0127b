//! Who waits for a proposal, and how each wait ends: exactly once, by rule 9.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use little_raft_core::{Conditions, EntryKind, Position};

use super::applier::{Applied, Waiting};
use super::outcome::{Ended, Waiter};
use crate::error::ProposeError;
use crate::pending::Answer;

/// A command and who waits for it.
#[derive(Debug)]
pub struct Proposal<R> {
    /// What it asks for.
    pub kind: EntryKind,
    /// The command.
    pub payload: Bytes,
    /// CRC-32C of it.
    pub checksum: u32,
    /// What is rarely asked for.
    pub terms: Option<Box<Terms>>,
    /// When to give up looking for a leader; set by the engine when it sees the proposal first.
    pub deadline: u64,
    /// Who waits.
    pub waiter: Waiter<R>,
}

/// On what terms a proposal is made.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// When the leader may take it.
    pub conditions: Conditions,
    /// How long its wait may take.
    pub within: Option<Duration>,
}

impl<R> Proposal<R> {
    /// A command that has not been given to an engine yet.
    pub fn command(payload: Bytes, answer: Answer<R, ProposeError>) -> Self {
        Self::new(EntryKind::Command, payload, Waiter::Response(answer))
    }

    /// One that has not been given to an engine yet.
    pub fn new(kind: EntryKind, payload: Bytes, waiter: Waiter<R>) -> Self {
        Self {
            kind,
            checksum: checksum(&payload),
            payload,
            terms: None,
            deadline: u64::MAX,
            waiter,
        }
    }
}

/// CRC-32C of a command. The library's way in costs more than the work on few bytes.
pub fn checksum(payload: &[u8]) -> u32 {
    if payload.is_empty() {
        0
    } else {
        crc32c::crc32c(payload)
    }
}

/// How a wait ended; to be released with no lock held.
pub type Ending<R> = (Waiter<R>, Ended<R>);

/// Responses kept for forwarded proposals whose position is not known yet: more than this, and the oldest outcomes
/// are reported as unknown.
const KEPT_COUNT_MAX: usize = 1 << 16;

/// The proposals whose outcome is open, by how much is known of them.
pub struct Proposals<R> {
    /// Given to the core, position not known: in rising order of tickets. After the outputs of a step are drained,
    /// only forwarded ones are left here.
    asked: VecDeque<(u64, Proposal<R>)>,
    /// In the log at this position, not handed to the applier: in rising order of (index, term), because one index
    /// can be taken by several terms.
    placed: Waiting<R>,
    /// Position learned after the applier had been given that index.
    late: Vec<(Position, Waiter<R>)>,
    /// What was applied while forwarded proposals were open, in rising order, for [`late`](Self::late).
    kept: VecDeque<Kept<R>>,
    next_ticket: u64,
    /// The last index handed to the applier, and the greatest term handed to it: committed, both.
    handed: u64,
    handed_term: u64,
    /// The last index it has reported.
    applied: u64,
}

struct Kept<R> {
    position: Position,
    /// The newest ticket when the entry was handed to the applier: later ones can't be about it.
    ticket: u64,
    ended: Ended<R>,
}

impl<R> Proposals<R> {
    /// No proposals, on a machine that has applied up to `applied`.
    pub fn new(applied: u64) -> Self {
        Self {
            asked: VecDeque::new(),
            placed: VecDeque::new(),
            late: Vec::new(),
            kept: VecDeque::new(),
            next_ticket: 1,
            handed: applied,
            handed_term: 0,
            applied,
        }
    }

    /// The name for the next question to the core.
    pub fn next_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket - 1
    }

    /// The core was asked for it, under this ticket.
    pub fn ask(&mut self, ticket: u64, proposal: Proposal<R>) {
        self.asked.push_back((ticket, proposal));
    }

    /// The proposal with this ticket, answered by the core; `None` if its wait has ended already.
    pub fn answered(&mut self, ticket: u64) -> Option<Proposal<R>> {
        if self
            .asked
            .front()
            .is_some_and(|(first, _)| *first == ticket)
        {
            return self.asked.pop_front().map(|(_, proposal)| proposal);
        }
        let at = self
            .asked
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()?;
        self.asked.remove(at).map(|(_, proposal)| proposal)
    }

    /// It stands in the log at `position`: its outcome is that of the entry there.
    pub fn place(&mut self, position: Position, waiter: Waiter<R>, endings: &mut Vec<Ending<R>>) {
        if position.index <= self.applied {
            let outcome = self.find_kept(position);
            endings.push((waiter, outcome));
        } else if position.index <= self.handed {
            self.late.push((position, waiter));
        } else if position.term < self.handed_term {
            endings.push((waiter, Err(ProposeError::NotApplied)));
        } else {
            let key = (position.index, position.term);
            let is_before = |(known, _): &(Position, _)| (known.index, known.term) <= key;
            let at = self
                .placed
                .iter()
                .rposition(is_before)
                .map_or(0, |at| at + 1);
            match at == self.placed.len() {
                true => self.placed.push_back((position, waiter)),
                false => self.placed.insert(at, (position, waiter)),
            }
        }
    }

    /// Those that stand at or below `last`, which is committed and handed to the applier now.
    pub fn hand_over(&mut self, last: Position, endings: &mut Vec<Ending<R>>) -> Waiting<R> {
        assert!(
            last.index > self.handed,
            "entries up to {last} were handed to the applier twice, it has {}",
            self.handed
        );
        self.handed = last.index;
        let waiters = match self.placed.back() {
            Some((at, _)) if at.index > last.index => {
                let count = self
                    .placed
                    .partition_point(|(at, _)| at.index <= last.index);
                self.placed.drain(..count).collect()
            }
            _ => std::mem::take(&mut self.placed),
        };
        self.commit_term(last.term, endings);
        waiters
    }

    /// Terms only rise along a log: behind a committed entry of this term none of an earlier term ever commits. Who
    /// waits for one hears it now, or would wait until others' entries have filled the log up to there.
    fn commit_term(&mut self, term: u64, endings: &mut Vec<Ending<R>>) {
        if term <= self.handed_term {
            return;
        }
        self.handed_term = term;
        for (position, waiter) in std::mem::take(&mut self.placed) {
            if position.term < term {
                endings.push((waiter, Err(ProposeError::NotApplied)));
            } else {
                self.placed.push_back((position, waiter));
            }
        }
    }

    /// Whether responses must be kept for proposals whose position is not known, and for which tickets.
    pub fn keep_for(&self) -> Option<u64> {
        (!self.asked.is_empty()).then_some(self.next_ticket - 1)
    }

    /// Whether somebody may learn an outcome from what is applied next.
    pub fn awaits_applied(&self) -> bool {
        !(self.asked.is_empty() && self.late.is_empty() && self.kept.is_empty())
    }

    /// Entries were applied: late ones end.
    pub fn applied(&mut self, applied: Applied<R>, endings: &mut Vec<Ending<R>>) {
        self.applied = self.applied.max(applied.index);
        if let Some(ticket) = applied.keep {
            self.kept
                .extend(applied.kept.into_iter().map(|(position, ended)| Kept {
                    position,
                    ticket,
                    ended,
                }));
        }
        for (position, waiter) in std::mem::take(&mut self.late) {
            if position.index <= self.applied {
                let outcome = self.find_kept(position);
                endings.push((waiter, outcome));
            } else {
                self.late.push((position, waiter));
            }
        }
        self.forget_kept();
    }

    /// A snapshot takes the place of all up to `last`: what became of entries below it can't be told any more.
    pub fn overtaken(&mut self, last: Position, endings: &mut Vec<Ending<R>>) {
        let count = self
            .placed
            .partition_point(|(at, _)| at.index <= last.index);
        let lost = self.placed.drain(..count);
        endings.extend(lost.map(|(_, waiter)| (waiter, Err(ProposeError::Unknown))));
        self.handed = self.handed.max(last.index);
        self.commit_term(last.term, endings);
    }

    /// Ends the forwarded ones that nobody answered in time.
    pub fn expire(&mut self, now: u64, endings: &mut Vec<Ending<R>>) {
        if self.asked.iter().all(|(_, p)| p.deadline > now) {
            return;
        }
        for (ticket, proposal) in std::mem::take(&mut self.asked) {
            if proposal.deadline <= now {
                endings.push((proposal.waiter, Err(ProposeError::Unknown)));
            } else {
                self.asked.push_back((ticket, proposal));
            }
        }
    }

    /// When the oldest forwarded one gives up.
    pub fn deadline(&self) -> u64 {
        self.asked.front().map_or(u64::MAX, |(_, p)| p.deadline)
    }

    /// The last index handed to the applier.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// The last index reported as applied.
    pub fn applied_index(&self) -> u64 {
        self.applied
    }

    /// How many wait for an outcome.
    pub fn open(&self) -> usize {
        self.asked.len() + self.placed.len() + self.late.len()
    }

    fn find_kept(&mut self, position: Position) -> Ended<R> {
        let found = self
            .kept
            .binary_search_by_key(&position.index, |kept| kept.position.index);
        match found {
            Ok(at) if self.kept[at].position == position => {
                self.kept.remove(at).expect("found there").ended
            }
            // Log matching: what is committed at this index is another term's, so ours never will be.
            Ok(_) => Err(ProposeError::NotApplied),
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    fn forget_kept(&mut self) {
        let oldest = self.asked.front().map_or(u64::MAX, |(ticket, _)| *ticket);
        while let Some(front) = self.kept.front() {
            if front.ticket >= oldest && self.kept.len() <= KEPT_COUNT_MAX {
                return;
            }
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Outcome;
    use super::*;
    use crate::pending::Pending;

    fn forwarded(waits: &mut Proposals<u8>) -> (u64, Pending<u8, ProposeError>) {
        let (answer, pending) = Answer::new();
        let ticket = waits.next_ticket();
        waits.ask(ticket, Proposal::command(Bytes::new(), answer));
        (ticket, pending)
    }

    fn ended(pending: Pending<u8, ProposeError>) -> Result<u8, ProposeError> {
        let ended = pending.wait_timeout(std::time::Duration::from_secs(20));
        ended.unwrap_or_else(|_| panic!("it has not ended"))
    }

    fn learn(waits: &mut Proposals<u8>, ticket: u64, position: Position) {
        let proposal = waits.answered(ticket).expect("it is open");
        let mut endings = Vec::new();
        waits.place(position, proposal.waiter, &mut endings);
        endings
            .into_iter()
            .for_each(|(answer, outcome)| answer.send(outcome));
    }

    fn apply(waits: &mut Proposals<u8>, keep: Option<u64>, kept: Vec<(Position, u8)>, index: u64) {
        let mut endings = Vec::new();
        let kept = kept.into_iter();
        let kept = kept.map(|(position, response)| (position, Ok(Outcome::Response(response))));
        let applied = Applied {
            index,
            keep,
            kept: kept.collect(),
            durable: None,
            taken: None,
        };
        waits.applied(applied, &mut endings);
        endings
            .into_iter()
            .for_each(|(answer, outcome)| answer.send(outcome));
    }

    /// P55: who waits is known by index and term, also when the entry was applied before its position was learned.
    #[test]
    fn p55_a_position_learned_late_finds_its_own_response() {
        let (first, second) = (Position::new(1, 2), Position::new(2, 2));
        let mut waits = Proposals::new(0);
        let (mine, answered) = forwarded(&mut waits);
        let (other, replaced) = forwarded(&mut waits);
        let (late, in_flight) = forwarded(&mut waits);
        let keep = waits.keep_for();
        let mut endings = Vec::new();
        assert!(waits.hand_over(second, &mut endings).is_empty());
        assert!(endings.is_empty());
        learn(&mut waits, late, second);
        apply(&mut waits, keep, vec![(first, 7), (second, 8)], 2);
        assert_eq!(ended(in_flight), Ok(8));
        learn(&mut waits, other, Position::new(1, 1));
        assert_eq!(ended(replaced), Err(ProposeError::NotApplied));
        learn(&mut waits, mine, first);
        assert_eq!(ended(answered), Ok(7));
    }

    #[test]
    fn what_a_snapshot_covers_and_what_nobody_answers_is_unknown() {
        let mut waits = Proposals::<u8>::new(0);
        let (ticket, covered) = forwarded(&mut waits);
        learn(&mut waits, ticket, Position::new(3, 1));
        let mut endings = Vec::new();
        waits.overtaken(Position::new(5, 1), &mut endings);
        let (_, expired) = forwarded(&mut waits);
        waits.expire(u64::MAX, &mut endings);
        endings
            .into_iter()
            .for_each(|(answer, outcome)| answer.send(outcome));
        assert_eq!(ended(covered), Err(ProposeError::Unknown));
        assert_eq!(ended(expired), Err(ProposeError::Unknown));
        assert_eq!(waits.open(), 0);
    }

    /// A leader put three into its log and was replaced; the new one's log is shorter, and nobody proposes any more.
    #[test]
    fn what_stands_behind_a_later_terms_commit_is_never_applied() {
        let mut waits = Proposals::<u8>::new(0);
        let mut pendings = Vec::new();
        for (index, term) in [(1, 1), (2, 1), (3, 1), (3, 2)] {
            let (ticket, pending) = forwarded(&mut waits);
            learn(&mut waits, ticket, Position::new(index, term));
            pendings.push(pending);
        }
        let mut endings = Vec::new();
        let first = waits.hand_over(Position::new(1, 1), &mut endings);
        assert_eq!(
            (first.len(), endings.len()),
            (1, 0),
            "they may still commit"
        );
        let handed = waits.hand_over(Position::new(2, 2), &mut endings);
        assert_eq!(handed.len(), 1, "the applier sees whose entry it is");
        endings
            .into_iter()
            .for_each(|(answer, outcome)| answer.send(outcome));
        let own = pendings.pop().expect("four were made");
        let behind = pendings.pop().expect("four were made");
        assert_eq!(ended(behind), Err(ProposeError::NotApplied));
        assert!(!own.is_ready(), "the new leader's own may commit");
        let (ticket, late) = forwarded(&mut waits);
        learn(&mut waits, ticket, Position::new(4, 1));
        assert_eq!(ended(late), Err(ProposeError::NotApplied));
    }

    #[test]
    fn what_stands_behind_a_snapshot_of_a_later_term_is_never_applied() {
        let mut waits = Proposals::<u8>::new(0);
        let (ticket, behind) = forwarded(&mut waits);
        learn(&mut waits, ticket, Position::new(9, 1));
        let mut endings = Vec::new();
        waits.overtaken(Position::new(5, 2), &mut endings);
        endings
            .into_iter()
            .for_each(|(answer, outcome)| answer.send(outcome));
        assert_eq!(ended(behind), Err(ProposeError::NotApplied));
    }

    #[test]
    fn responses_are_kept_up_to_a_bound_and_then_unknown() {
        let mut waits = Proposals::new(0);
        let (ticket, open) = forwarded(&mut waits);
        let (each, mut index) = (10_000, 0);
        while index < 2 * KEPT_COUNT_MAX as u64 {
            let keep = waits.keep_for();
            let kept = (index + 1..=index + each).map(|at| (Position::new(at, 1), 7));
            index += each;
            waits.hand_over(Position::new(index, 1), &mut Vec::new());
            apply(&mut waits, keep, kept.collect(), index);
            assert!(waits.kept.len() <= KEPT_COUNT_MAX, "{}", waits.kept.len());
        }
        learn(&mut waits, ticket, Position::new(1, 1));
        assert_eq!(ended(open), Err(ProposeError::Unknown));
    }
}
