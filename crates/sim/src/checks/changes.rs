//! Rule 5: a membership counts from the moment it is in the log; one change at a time; none by a leader that has not
//! committed an entry of its own term. And a log that begins after a snapshot begins with the membership in force there.

use std::collections::BTreeMap;

use little_raft_core::{Base, Entry, Membership, Position, Raft};

use super::{Committed, Violation, ensure};
use crate::node::{Effects, Node};

#[derive(Debug)]
pub(crate) struct Changes {
    founders: Membership,
    /// Each membership that was ever in a log.
    seen: BTreeMap<Position, Membership>,
    /// Those that are committed, by their indices.
    committed: BTreeMap<u64, Membership>,
}

impl Changes {
    pub(crate) fn new(founders: Membership) -> Self {
        Self {
            founders,
            seen: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// This entry is committed; true if it is a joint membership.
    pub(crate) fn committed(&mut self, position: Position) -> bool {
        let Some(membership) = self.seen.get(&position) else {
            return false;
        };
        self.committed.insert(position.index, membership.clone());
        membership.is_joint()
    }

    /// The membership in force at what is committed.
    pub(crate) fn newest(&self) -> &Membership {
        let newest = self.committed.last_key_value();
        newest.map_or(&self.founders, |(_, membership)| membership)
    }

    pub(crate) fn stepped(
        &mut self,
        node: &Node,
        raft: &Raft,
        effects: &Effects,
        committed: &Committed,
    ) -> Result<(), Violation> {
        let written = effects.written.iter().flat_map(|(_, entries)| entries);
        for entry in written {
            self.written(node, entry, committed)?;
        }
        effects
            .base
            .iter()
            .try_for_each(|base| self.begins(node, base))?;
        let ours = node.disk.logical.membership();
        let is_in_force = !effects.is_drained || raft.membership() == ours;
        ensure(is_in_force, "membership in the log", || {
            let theirs = raft.membership();
            format!("{} goes by {theirs:?}, its log ends with {ours:?}", node.id)
        })
    }

    fn written(
        &mut self,
        node: &Node,
        entry: &Entry,
        committed: &Committed,
    ) -> Result<(), Violation> {
        let (Some(membership), position) = (entry.membership(), entry.position) else {
            return Ok(());
        };
        if self.seen.insert(position, membership).is_some() {
            return Ok(());
        }
        let before = node.disk.logical.change_before(position.index);
        ensure(committed.has(before), "one change at a time", || {
            format!("{position} changes the membership at {before}, which is not committed")
        })?;
        ensure(committed.has_of(position), "change after a commit", || {
            format!("{position} changes the membership before a commit in its term")
        })
    }

    fn begins(&self, node: &Node, base: &Base) -> Result<(), Violation> {
        let index = base.position.index;
        let known = self.committed.range(..=index).next_back();
        let known = known.map_or(&self.founders, |(_, membership)| membership);
        ensure(
            *known == base.membership,
            "membership of a snapshot",
            || {
                let theirs = &base.membership;
                format!(
                    "{} begins after {index} with {theirs:?}, but {known:?} was in force",
                    node.id
                )
            },
        )
    }
}
