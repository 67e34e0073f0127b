//! Which reads are under way, and what each must see.

use std::collections::{BTreeMap, BTreeSet};

use little_raft_core::{ReplicaId, State};

use crate::known::{Broken, ensure};
use crate::replica::Replica;

/// Who answered a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Answered {
    /// Whoever led, by a round.
    Leader,
    /// Whoever led, at once.
    Lease,
    /// Somebody who followed.
    Follower,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Where each was asked for, and how much was committed then.
    open: BTreeMap<u64, (ReplicaId, u64)>,
    /// The one that was asked for just now.
    newest: Option<u64>,
    pub(crate) answered: BTreeSet<Answered>,
}

impl Reads {
    pub(crate) fn asked(&mut self, ticket: u64, at: ReplicaId, committed: u64) {
        self.open.insert(ticket, (at, committed));
        self.newest = Some(ticket);
    }

    /// Whatever it was asked is forgotten.
    pub(crate) fn crashed(&mut self, id: ReplicaId) {
        self.open.retain(|_, (at, _)| *at != id);
    }

    /// A read sees all that was committed anywhere when it was asked for, and nothing that may never be (rule 8).
    pub(crate) fn answered(
        &mut self,
        replica: &Replica,
        answers: &[(u64, u64)],
        committed: u64,
    ) -> Result<(), Broken> {
        let asked_now = self.newest.take();
        for (ticket, index) in answers {
            let Some((at, before)) = self.open.remove(ticket) else {
                return Err(Broken::Reads);
            };
            ensure(at == replica.id(), Broken::Reads)?;
            ensure((before..=committed).contains(index), Broken::Reads)?;
            let leads = replica.raft.state() == State::Leader;
            self.answered.insert(match leads {
                true if asked_now == Some(*ticket) => Answered::Lease,
                true => Answered::Leader,
                false => Answered::Follower,
            });
        }
        Ok(())
    }
}
