//! Election safety: at most one leader in a term (Raft, section 5.2).

use std::collections::BTreeMap;

use little_raft_core::{Raft, State};

use super::{Violation, ensure};
use crate::node::Node;

#[derive(Debug, Default)]
pub(crate) struct Election {
    /// Who led each term, and in which boot.
    leaders: BTreeMap<u64, (u64, u64)>,
}

impl Election {
    /// How many there were so far.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn is_new_leader(&mut self, node: &Node, raft: &Raft) -> Result<bool, Violation> {
        if raft.state() != State::Leader {
            return Ok(false);
        }
        let (term, us) = (raft.term(), (node.id.0, node.boot));
        let known = self.leaders.insert(term, us);
        ensure(
            known.is_none_or(|known| known == us),
            "election safety",
            || format!("{us:?} and {known:?} (id, boot) both lead term {term}"),
        )?;
        Ok(known.is_none())
    }
}
