//! How commands get into the log, on any replica: those of a follower are forwarded to the leader.
//!
//! Upholds rule 9 (an unknown outcome is reported as unknown).

use core::mem;

use bytes::Bytes;

use crate::message::{Body, Forward, ForwardReply};
use crate::raft::{Own, Part, Raft};
use crate::replication::Leading;
use crate::{EntryKind, Refusal, ReplicaId};

impl Raft {
    pub(crate) fn propose(&mut self, ticket: u64, checksum: u32, payload: Bytes) {
        let own = &mut self.own;
        let answer = match (&mut self.part, own.leader) {
            (Part::Leader(leading), _) => match leading.refusal(own) {
                Some(refusal) => Err(refusal),
                None => Ok(leading.append(own, EntryKind::Command, checksum, payload)),
            },
            (_, Some(leader)) => return own.forward(leader, ticket, checksum, payload),
            (_, None) => Err(Refusal::NoLeader),
        };
        own.out.proposed.push((ticket, answer));
    }
}

impl Leading {
    fn refusal(&self, own: &Own) -> Option<Refusal> {
        if !own.accepting {
            Some(Refusal::DiskFull)
        } else if self.handover.is_some() {
            Some(Refusal::Transferring)
        } else {
            let full = self.uncommitted_bytes >= own.config.uncommitted_bytes_max;
            full.then_some(Refusal::Busy)
        }
    }

    /// An origin's numbers are accepted only rising, so that a duplicate is never appended (rule 9).
    pub(crate) fn forward_arrived(&mut self, own: &mut Own, from: ReplicaId, forward: Forward) {
        let Forward { sequence, .. } = forward;
        let newest = self.origins.entry(from).or_default();
        if sequence <= mem::replace(newest, sequence.max(*newest)) {
            return;
        }
        let position = match self.refusal(own) {
            Some(_) => None,
            None => {
                let Forward {
                    checksum, payload, ..
                } = forward;
                Some(self.append(own, EntryKind::Command, checksum, payload))
            }
        };
        if let (Some(position), Some(origin)) = (position, self.progress.get_mut(&from)) {
            origin.awaits = position.index;
        }
        own.send(
            from,
            Body::ForwardReply(ForwardReply { sequence, position }),
        );
    }
}

impl Own {
    fn forward(&mut self, leader: ReplicaId, ticket: u64, checksum: u32, payload: Bytes) {
        let sequence = self.mail.number();
        self.forwards.insert(sequence, ticket);
        let forward = Forward {
            sequence,
            checksum,
            payload,
        };
        self.send(leader, Body::Forward(forward));
    }

    pub(crate) fn forward_answered(&mut self, reply: ForwardReply) {
        if let Some(ticket) = self.forwards.remove(&reply.sequence) {
            let answer = reply.position.ok_or(Refusal::RefusedByLeader);
            self.out.proposed.push((ticket, answer));
        }
    }

    /// The outcome of what was forwarded and not answered is unknown from here on.
    pub(crate) fn lose_forwards(&mut self) {
        let lost = mem::take(&mut self.forwards).into_values();
        let lost = lost.map(|ticket| (ticket, Err(Refusal::Unknown)));
        self.out.proposed.extend(lost);
    }
}
