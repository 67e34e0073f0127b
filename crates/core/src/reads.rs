//! How reads stay fresh (thesis, section 6.4), on any replica.
//!
//! A leader serves all waiting reads by one round of requests, begun after they arrived; a follower asks the leader
//! for the index with one question for all its waiting reads. Upholds rule 8.

use alloc::vec::Vec;
use core::mem;

use crate::ReplicaId;
use crate::message::{Body, Read, ReadReply};
use crate::raft::{Part, Raft};

/// Who waits for a read index.
#[derive(Clone, Copy, Debug, Hash)]
enum Reader {
    Here { ticket: u64 },
    Peer { id: ReplicaId, number: u64 },
}

#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    /// Readers that no round or question covers yet.
    waiting: Vec<Reader>,
    /// Readers of the round or question under way.
    asked: Vec<Reader>,
    /// The number of that round or question. Never used twice.
    number: u64,
    /// What a read of that round must see: what was committed when the round began.
    index: u64,
    /// The question is to be sent again.
    again: bool,
}

impl Reads {
    /// The newest round, for every request that goes out.
    pub(crate) fn round(&self) -> u64 {
        self.number
    }

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
}

impl Raft {
    pub(crate) fn read(&mut self, ticket: u64) {
        self.reads.waiting.push(Reader::Here { ticket });
    }

    pub(crate) fn read_arrived(&mut self, id: ReplicaId, number: u64) {
        if let Part::Leader(_) = self.part {
            self.reads.waiting.push(Reader::Peer { id, number });
        }
    }

    /// Begins the next round, or asks the next question, once the one before is answered.
    pub(crate) fn ask_for_reads(&mut self) {
        let is_due = self.reads.asked.is_empty() && !self.reads.waiting.is_empty();
        match (&self.part, self.leader) {
            // Rule 8: before it has committed in its own term, a leader doesn't know what is committed.
            (Part::Leader(leading), _) if is_due && self.hard.committed >= leading.began_at => {
                self.begin_asking();
                self.reads.index = self.hard.committed;
                self.for_each_follower(|raft, peer| raft.send_append(peer, Vec::new()));
                self.serve_confirmed_reads();
            }
            (Part::Follower, Some(leader)) if is_due || self.reads.again => {
                if is_due {
                    self.begin_asking();
                }
                self.reads.again = false;
                let question = Body::Read(Read {
                    number: self.reads.number,
                });
                self.mail.send(leader, self.hard.term, question);
                self.schedule_beat();
            }
            _ => {}
        }
    }

    fn begin_asking(&mut self) {
        self.reads.number = self.mail.number();
        self.reads.asked = mem::take(&mut self.reads.waiting);
    }

    /// Serves the round's readers if a quorum has confirmed it.
    pub(crate) fn serve_confirmed_reads(&mut self) {
        if self.reads.asked.is_empty() {
            return;
        }
        let (id, round) = (self.config.id, self.reads.number);
        let Part::Leader(leading) = &self.part else {
            return;
        };
        let progress = &leading.progress;
        let confirmed = |peer| {
            progress
                .get(&peer)
                .is_some_and(|progress| progress.round >= round)
        };
        if self
            .membership
            .has_quorum(|peer| peer == id || confirmed(peer))
        {
            self.serve(self.reads.index);
        }
    }

    pub(crate) fn read_answered(&mut self, reply: ReadReply) {
        if matches!(self.part, Part::Follower) && reply.number == self.reads.number {
            self.serve(reply.index);
        }
    }

    fn serve(&mut self, index: u64) {
        for reader in mem::take(&mut self.reads.asked) {
            match reader {
                Reader::Here { ticket } => self.out.reads.push((ticket, Ok(index))),
                Reader::Peer { id, number } => {
                    if let Some(progress) = self.progress(id) {
                        progress.awaits = progress.awaits.max(index);
                    }
                    let reply = Body::ReadReply(ReadReply { number, index });
                    self.mail.send(id, self.hard.term, reply);
                }
            }
        }
    }
}
