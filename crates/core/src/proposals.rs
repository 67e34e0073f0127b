//! How commands get into the log, on any replica: those of a follower are forwarded to the leader.
//!
//! Upholds rule 9 (an unknown outcome is reported as unknown).

use core::mem;

use crate::message::{Body, Forward, ForwardReply};
use crate::plant::planted;
use crate::raft::{Own, Part, Raft};
use crate::replication::Leading;
use crate::{Conditions, EntryKind, Now, Position, Proposal, Refusal, ReplicaId};

impl Raft {
    /// Takes in a proposal. Who leads or knows no leader answers at once; else the answer comes under this ticket with
    /// the [`outputs`](Self::outputs). [`Input::Propose`](crate::Input::Propose) is the same with all answers there.
    pub fn propose(
        &mut self,
        now: Now,
        ticket: u64,
        proposal: Proposal,
    ) -> Option<Result<Position, Refusal>> {
        let own = &mut self.own;
        own.tell_time(now);
        Some(match (&mut self.part, own.leader) {
            _ if own.config.witness && proposal.kind != EntryKind::Membership => {
                Err(Refusal::Witness)
            }
            (Part::Leader(leading), _) => leading.take(own, proposal),
            (_, Some(leader)) => {
                own.forward(leader, ticket, proposal);
                return None;
            }
            (_, None) => Err(Refusal::NoLeader),
        })
    }
}

impl Leading {
    fn take(&mut self, own: &mut Own, proposal: Proposal) -> Result<Position, Refusal> {
        let Proposal {
            kind,
            checksum,
            payload,
            conditions,
        } = proposal;
        if !own.accepting {
            return Err(Refusal::DiskFull);
        } else if self.handover.is_some() {
            return Err(Refusal::Transferring);
        } else if self.uncommitted_bytes >= own.config.uncommitted_bytes_max {
            return Err(Refusal::Busy);
        } else if !conditions.hold(own) {
            return Err(Refusal::Condition);
        }
        match kind {
            EntryKind::Membership => self.change(own, payload).map_err(Refusal::Change),
            kind => Ok(self.append(own, kind, checksum, payload)),
        }
    }

    /// An origin's numbers are accepted only rising, so that a duplicate is never appended (rule 9).
    pub(crate) fn forward_arrived(&mut self, own: &mut Own, from: ReplicaId, forward: Forward) {
        let Forward { sequence, proposal } = forward;
        if !self.progress.contains_key(&from) {
            return;
        }
        let newest = self.origins.entry(from).or_default();
        if sequence <= mem::replace(newest, sequence.max(*newest)) {
            return;
        }
        let outcome = self.take(own, proposal);
        if let (Ok(position), Some(origin)) = (&outcome, self.progress.get_mut(&from)) {
            origin.awaits = position.index;
        }
        own.send(from, Body::ForwardReply(ForwardReply { sequence, outcome }));
    }
}

impl Conditions {
    fn hold(&self, own: &Own) -> bool {
        let (term, version) = (own.hard.term, own.members.newest().version);
        self.leader_term.is_none_or(|wanted| wanted == term)
            && self.members_version.is_none_or(|wanted| wanted == version)
            && self.index_max.is_none_or(|max| own.log.last().index < max)
    }
}

impl Own {
    fn forward(&mut self, leader: ReplicaId, ticket: u64, proposal: Proposal) {
        let sequence = self.mail.number();
        self.forwards.insert(sequence, ticket);
        self.send(leader, Body::Forward(Forward { sequence, proposal }));
    }

    pub(crate) fn forward_answered(&mut self, reply: ForwardReply) {
        if let Some(ticket) = self.forwards.remove(&reply.sequence) {
            self.out.proposed.push((ticket, reply.outcome));
        }
    }

    /// The outcome of what was forwarded and not answered is unknown from here on.
    pub(crate) fn lose_forwards(&mut self) {
        let lost = mem::take(&mut self.forwards).into_values();
        let outcome = planted!(P54, Refusal::NoLeader, Refusal::Unknown);
        let lost = lost.map(|ticket| (ticket, Err(outcome.clone())));
        self.out.proposed.extend(lost);
    }
}
