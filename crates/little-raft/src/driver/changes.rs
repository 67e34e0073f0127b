//! Who waits for a change of members: until it is committed, complete, and those who were to vote have caught up.

use std::time::Duration;

use little_raft_core::{
    Change, ChangeError, Conditions, Input, Membership, Now, Position, Proposal, Raft, Refusal,
    ReplicaId, Role,
};

use crate::error::MembersError;
use crate::pending::Answer;

/// A change that somebody waits for.
pub struct ChangeRequest {
    /// What is to change, all or nothing.
    pub changes: Vec<Change>,
    /// Only if the membership's version is this.
    pub expecting: Option<u64>,
    /// How long it may take.
    pub within: Duration,
    /// Whether it ends only when those who were added as voters vote.
    pub awaits_voters: bool,
    /// Who waits.
    pub answer: Answer<Membership, MembersError>,
}

/// How long to wait before a refused change is proposed again.
const RETRY: u64 = 20_000_000;

enum Stage {
    /// To be proposed, not before this time.
    Waiting(u64),
    /// Proposed by this ticket.
    Asked(u64),
    /// In the log.
    Placed(Position),
}

struct Open {
    request: ChangeRequest,
    stage: Stage,
    deadline: u64,
    /// Why it still waits.
    reason: MembersError,
}

/// All changes that somebody waits for.
#[derive(Default)]
pub struct Changes {
    open: Vec<Open>,
}

/// An answer, and what to answer.
pub type Ended = (
    Answer<Membership, MembersError>,
    Result<Membership, MembersError>,
);

impl Changes {
    /// Takes a change in.
    pub fn add(&mut self, now: Now, request: ChangeRequest) {
        let within = u64::try_from(request.within.as_nanos()).unwrap_or(u64::MAX);
        self.open.push(Open {
            request,
            stage: Stage::Waiting(0),
            deadline: now.monotonic.saturating_add(within),
            reason: MembersError::NoLeader,
        });
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// When somebody must be looked at again.
    pub fn deadline(&self) -> u64 {
        let wait = |open: &Open| match open.stage {
            Stage::Waiting(at) if at > 0 => at.min(open.deadline),
            _ => open.deadline,
        };
        self.open.iter().map(wait).min().unwrap_or(u64::MAX)
    }

    /// Proposes what may be proposed now.
    pub fn propose(&mut self, now: Now, raft: &mut Raft, mut ticket: impl FnMut() -> u64) {
        if raft.leader().is_none() {
            return;
        }
        for open in &mut self.open {
            if matches!(open.stage, Stage::Waiting(at) if at <= now.monotonic) {
                let ticket = ticket();
                open.stage = Stage::Asked(ticket);
                let proposal = open.request.proposal();
                raft.step(now, Input::Propose { ticket, proposal });
            }
        }
    }

    /// The core's answer, if the ticket is one of ours.
    pub fn answered(
        &mut self,
        now: Now,
        ticket: u64,
        outcome: Result<Position, Refusal>,
        ended: &mut Vec<Ended>,
    ) {
        let is_it = |open: &Open| matches!(open.stage, Stage::Asked(known) if known == ticket);
        let Some(at) = self.open.iter().position(is_it) else {
            return;
        };
        let open = &mut self.open[at];
        match outcome {
            Ok(position) => open.stage = Stage::Placed(position),
            Err(refusal) => match why(refusal, open.request.expecting) {
                Waits::ForAnother(reason) => {
                    open.reason = reason;
                    open.stage = Stage::Waiting(now.monotonic.saturating_add(RETRY));
                }
                Waits::NoMore(error) => {
                    let open = self.open.swap_remove(at);
                    ended.push((open.request.answer, Err(error)));
                }
            },
        }
    }

    /// Looks who is served, and whose time is over.
    pub fn look(&mut self, now: Now, raft: &Raft, ended: &mut Vec<Ended>) {
        let mut at = 0;
        while at < self.open.len() {
            match self.open[at].outcome(now, raft) {
                None => at += 1,
                Some(outcome) => {
                    let open = self.open.swap_remove(at);
                    ended.push((open.request.answer, outcome));
                }
            }
        }
    }

    /// Nothing goes on.
    pub fn stop(&mut self) -> impl Iterator<Item = Ended> {
        let open = self.open.drain(..);
        open.map(|open| match open.stage {
            Stage::Waiting(_) => (open.request.answer, Err(MembersError::Stopped)),
            Stage::Asked(_) | Stage::Placed(_) => (open.request.answer, Err(MembersError::Unknown)),
        })
    }
}

impl ChangeRequest {
    fn proposal(&self) -> Proposal {
        let conditions = Conditions {
            members_version: self.expecting,
            ..Conditions::default()
        };
        Proposal {
            conditions,
            ..Proposal::changes(&self.changes)
        }
    }

    /// Those who are to vote and don't yet.
    fn laggards(&self, membership: &Membership) -> Vec<ReplicaId> {
        let added = self.changes.iter().filter_map(|change| match change {
            Change::Add {
                id,
                role: Role::Voter,
                ..
            } => Some(*id),
            _ => None,
        });
        let waits = |id: &ReplicaId| {
            let member = membership.member(*id);
            member.is_some_and(|member| member.promote_when_caught_up)
        };
        added.filter(|_| self.awaits_voters).filter(waits).collect()
    }
}

impl Open {
    fn outcome(&mut self, now: Now, raft: &Raft) -> Option<Result<Membership, MembersError>> {
        if let Stage::Placed(position) = self.stage {
            if raft.committed() >= position.index {
                let term = raft.term_at(position.index);
                if term.is_some_and(|term| term != position.term) {
                    // Another leader's entry stands there: nothing was changed, and it can be tried again.
                    self.stage = Stage::Waiting(now.monotonic.saturating_add(RETRY));
                } else if let Some(membership) = raft.settled_membership() {
                    let laggards = self.request.laggards(membership);
                    if laggards.is_empty() {
                        return Some(Ok(membership.clone()));
                    }
                    self.reason = MembersError::NotCaughtUp { members: laggards };
                }
            }
        }
        if now.monotonic < self.deadline {
            return None;
        }
        let is_known = !matches!(self.stage, Stage::Asked(_)) && !self.is_uncommitted(raft);
        Some(Err(match is_known {
            true => self.reason.clone(),
            false => MembersError::Unknown,
        }))
    }

    fn is_uncommitted(&self, raft: &Raft) -> bool {
        matches!(self.stage, Stage::Placed(position) if raft.committed() < position.index)
    }
}

enum Waits {
    ForAnother(MembersError),
    NoMore(MembersError),
}

fn why(refusal: Refusal, expecting: Option<u64>) -> Waits {
    match refusal {
        Refusal::NoLeader | Refusal::Transferring => Waits::ForAnother(MembersError::NoLeader),
        Refusal::Busy => Waits::ForAnother(MembersError::Busy),
        Refusal::Change(ChangeError::UnderWay) => Waits::ForAnother(MembersError::UnderWay),
        Refusal::Change(error) => Waits::NoMore(MembersError::Refused(error)),
        Refusal::Condition => Waits::NoMore(MembersError::OtherVersion {
            expected: expecting.unwrap_or_default(),
        }),
        Refusal::DiskFull => Waits::NoMore(MembersError::DiskFull),
        // A refusal that this version does not know promises nothing.
        _ => Waits::NoMore(MembersError::Unknown),
    }
}
