//! How reads stay fresh (thesis, section 6.4), on any replica.
//!
//! A leader serves all waiting reads by one round of requests, begun after they arrived; a follower asks the leader
//! for the index with one question for all its waiting reads. Upholds rule 8.

use alloc::vec::Vec;
use core::mem;

use crate::message::{Body, Read, ReadReply};
use crate::plant::planted;
use crate::raft::Own;
use crate::replication::Leading;
use crate::{Refusal, ReplicaId};

/// Who waits for a read index.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Reader {
    Here { ticket: u64 },
    Peer { id: ReplicaId, number: u64 },
}

#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    /// Readers that no round or question covers yet.
    pub(crate) waiting: Vec<Reader>,
    /// Readers of the round or question under way.
    asked: Vec<Reader>,
    /// The number of that round or question, for every request that goes out. Never used twice.
    pub(crate) number: u64,
    /// What a read of that round must see: what was committed when the round began.
    index: u64,
    /// The question is to be sent again.
    again: bool,
}

impl Reads {
    /// A lost question is asked again; so is a lost answer.
    pub(crate) fn ask_again(&mut self) {
        self.again = !self.asked.is_empty();
    }

    /// There is another leader: its rounds count from here on. Peers ask again by themselves.
    pub(crate) fn ask_anew(&mut self) {
        self.waiting.append(&mut self.asked);
        self.waiting
            .retain(|reader| matches!(reader, Reader::Here { .. }));
    }

    fn is_due(&self) -> bool {
        self.asked.is_empty() && !self.waiting.is_empty()
    }

    fn begin(&mut self, number: u64, index: u64) {
        self.number = number;
        self.index = index;
        self.asked = mem::take(&mut self.waiting);
    }
}

impl Leading {
    pub(crate) fn read_arrived(&mut self, own: &mut Own, id: ReplicaId, read: Read) {
        if self.progress.contains_key(&id) {
            let number = read.number;
            own.reads.waiting.push(Reader::Peer { id, number });
        }
    }

    /// Begins the next round once the one before is confirmed.
    pub(crate) fn begin_round(&mut self, own: &mut Own) {
        // Rule 8: before it has committed in its own term, a leader doesn't know what is committed.
        let knows_committed = own.hard.committed >= self.began_at || planted!(P36);
        if own.reads.waiting.is_empty() || !knows_committed {
            return;
        }
        if self.has_lease(own) {
            own.reads.asked.append(&mut own.reads.waiting);
            own.serve(own.hard.committed);
        } else if own.reads.asked.is_empty() {
            own.reads.begin(own.mail.number(), own.hard.committed);
            self.ask_round(own);
            self.serve_confirmed_reads(own);
        }
    }

    /// Whether a quorum helps no other candidate yet. After the go-ahead to a successor no lease returns in this term:
    /// promises don't bind those who vote for it.
    fn has_lease(&self, own: &Own) -> bool {
        own.config.leases.is_some()
            && !self.has_told_successor
            && own.now.monotonic < self.reached(own, u64::MAX, |peer| peer.lease)
    }

    /// Serves the round's readers if a quorum has confirmed it.
    pub(crate) fn serve_confirmed_reads(&mut self, own: &mut Own) {
        let round = own.reads.number;
        let is_asked = !own.reads.asked.is_empty();
        if is_asked && self.reached(own, round, |peer| peer.round) >= round {
            own.serve(own.reads.index);
        }
    }
}

impl Own {
    pub(crate) fn read(&mut self, ticket: u64) {
        match self.config.witness {
            true => self.out.reads.push((ticket, Err(Refusal::Witness))),
            false => self.reads.waiting.push(Reader::Here { ticket }),
        }
    }

    /// Asks the leader the next question once the one before is answered.
    pub(crate) fn ask_leader(&mut self) {
        let Some(leader) = self.leader else { return };
        if self.reads.is_due() {
            self.reads.begin(self.mail.number(), 0);
        } else if !self.reads.again {
            return;
        }
        self.reads.again = false;
        let number = self.reads.number;
        self.send(leader, Body::Read(Read { number }));
        self.schedule_beat();
    }

    pub(crate) fn read_answered(&mut self, reply: ReadReply) {
        if reply.number == self.reads.number {
            self.learn_committed(reply.index);
            self.serve(reply.index);
        }
    }

    fn serve(&mut self, index: u64) {
        for reader in mem::take(&mut self.reads.asked) {
            match reader {
                Reader::Here { ticket } => self.out.reads.push((ticket, Ok(index))),
                Reader::Peer { id, number } => {
                    self.send(id, Body::ReadReply(ReadReply { number, index }));
                }
            }
        }
    }
}
