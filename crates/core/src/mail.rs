//! Who may be listened to (rule 7), how messages are addressed, and which of them wait for the disk (rule 1).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::message::Body;
use crate::types::PLAUSIBLE_MAX;
use crate::{Config, Membership, Message, ReplicaId, Stranger};

#[derive(Clone, Debug, Hash)]
pub(crate) struct Mail {
    cluster: u64,
    group: u64,
    id: ReplicaId,
    incarnation: u64,
    boot: u64,
    /// Each peer's data directory and newest boot, as far as bound or heard; boots begin with 1.
    heard: BTreeMap<ReplicaId, (u64, u64)>,
    /// Messages that promise what the write of this number makes durable. Invariant: the numbers rise.
    held: Vec<(u64, Message)>,
    /// Numbers are unique over all boots: the boot is their upper half.
    number: u64,
    pub(crate) ready: Vec<Message>,
}

impl Mail {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            cluster: config.cluster,
            group: config.group,
            id: config.id,
            incarnation: config.incarnation,
            boot: config.boot,
            heard: BTreeMap::new(),
            held: Vec::new(),
            number: config.boot << 40,
            ready: Vec::new(),
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn send(&mut self, to: ReplicaId, term: u64, body: Body) {
        let message = self.addressed(to, term, body);
        self.ready.push(message);
    }

    /// Sends once the write of this number is durable.
    pub(crate) fn send_after(&mut self, write: u64, to: ReplicaId, term: u64, body: Body) {
        let message = self.addressed(to, term, body);
        self.held.push((write, message));
    }

    /// Lets go what waited for this write. What was promised in a former term is promised no more.
    pub(crate) fn flushed(&mut self, write: u64, term: u64) {
        let count = self.held.partition_point(|(needed, _)| *needed <= write);
        let freed = self.held.drain(..count).map(|(_, message)| message);
        self.ready
            .extend(freed.filter(|message| message.term == term));
    }

    /// Rule 13: a member's directory is the one it was bound to, and who left may come back with another.
    pub(crate) fn know(&mut self, membership: &Membership) {
        self.heard.retain(|id, _| membership.member(*id).is_some());
        for member in &membership.members {
            if let Some(incarnation) = member.incarnation.filter(|_| member.id != self.id) {
                let heard = self.heard.entry(member.id).or_insert((incarnation, 0));
                if heard.0 != incarnation {
                    *heard = (incarnation, 0);
                }
            }
        }
    }

    /// The data directory of a peer that was heard.
    pub(crate) fn incarnation_of(&self, peer: ReplicaId) -> Option<u64> {
        self.heard.get(&peer).map(|&(incarnation, _)| incarnation)
    }

    fn addressed(&self, to: ReplicaId, term: u64, body: Body) -> Message {
        Message {
            cluster: self.cluster,
            group: self.group,
            from: self.id,
            to,
            from_incarnation: self.incarnation,
            to_incarnation: self.incarnation_of(to),
            boot: self.boot,
            term,
            body,
        }
    }

    /// Whether the message may be listened to; `Ok(true)` if its sender has restarted since it was last heard. Who is
    /// no member as far as we know may be one that was added since, and even lead.
    pub(crate) fn admit(&mut self, m: &Message, members: &Membership) -> Result<bool, Stranger> {
        if (m.cluster, m.group, m.to) != (self.cluster, self.group, self.id) || m.from == self.id {
            return Err(Stranger::OtherAddress);
        }
        if m.term > PLAUSIBLE_MAX {
            return Err(Stranger::Implausible);
        }
        let theirs = (m.from_incarnation, m.boot);
        let known = self.heard.get(&m.from).copied();
        let (heard, boot) = known.unwrap_or(theirs);
        if heard != m.from_incarnation
            || m.to_incarnation
                .is_some_and(|ours| ours != self.incarnation)
        {
            return Err(Stranger::OtherIncarnation);
        }
        if m.boot < boot {
            return Err(Stranger::FormerBoot);
        }
        if known != Some(theirs) && members.member(m.from).is_some() {
            self.heard.insert(m.from, theirs);
        }
        Ok(m.boot > boot && boot > 0)
    }
}
