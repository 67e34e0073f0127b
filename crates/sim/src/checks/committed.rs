//! What is committed: the same everywhere, for ever, and in every later leader's log (Raft, section 5.4).

use std::collections::BTreeMap;

use little_raft_core::{Position, Raft};

use super::{Violation, ensure};
use crate::node::Node;

#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// For each index: the entry's term, and the least term in which anybody knew that it was committed.
    entries: Vec<(u64, u64)>,
    /// How far each boot's committed index was looked at.
    seen: BTreeMap<(u64, u64), u64>,
}

impl Committed {
    /// The last index that anybody has committed.
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What is committed at `index`, if anything is.
    pub(crate) fn at(&self, index: u64) -> Option<Position> {
        let Some(at) = index.checked_sub(1) else {
            return Some(Position::default());
        };
        let known = self.entries.get(at as usize);
        known.map(|(term, _)| Position::new(index, *term))
    }

    /// Whether this is known to be committed; what is before the first entry always is.
    pub(crate) fn has(&self, position: Position) -> bool {
        self.at(position.index) == Some(position)
    }

    /// Whether an entry before this one, of its term, is committed.
    pub(crate) fn has_of(&self, position: Position) -> bool {
        let before = self.entries.len().min(position.index as usize - 1);
        let entries = &self.entries[..before];
        let later = entries.partition_point(|(term, _)| *term <= position.term);
        later > 0 && entries[later - 1].0 == position.term
    }

    /// What was acknowledged is committed.
    pub(crate) fn holds(&self, position: Position) -> Result<(), Violation> {
        ensure(self.has(position), "committed", || {
            let known = self.entries.get(position.index as usize - 1);
            format!("{position} was acknowledged, and is not committed: {known:?}")
        })
    }

    /// Leader completeness: what was committed in earlier terms stands in a new leader's log.
    pub(crate) fn leader_is_complete(&self, node: &Node, raft: &Raft) -> Result<(), Violation> {
        let base = raft.base().index;
        for (index, &(term, known_in)) in (1..).zip(&self.entries) {
            let holds = index < base || raft.term_at(index) == Some(term);
            ensure(
                holds || known_in >= raft.term(),
                "leader completeness",
                || {
                    let there = raft.term_at(index);
                    format!(
                        "{} leads term {} without {index}@{term}, committed in term {known_in} (its term there: {there:?})",
                        node.id,
                        raft.term()
                    )
                },
            )?;
        }
        Ok(())
    }

    /// The positions that this replica has committed before anybody else.
    pub(crate) fn advanced(
        &mut self,
        node: &Node,
        raft: &Raft,
    ) -> Result<Vec<Position>, Violation> {
        let seen = self.seen.entry((node.id.0, node.boot)).or_default();
        let from = (*seen + 1).max(raft.base().index);
        ensure(raft.committed() >= *seen, "committed", || {
            format!("{} went back from {seen} to {}", node.id, raft.committed())
        })?;
        *seen = raft.committed();
        let mut new = Vec::new();
        for index in from.max(1)..=raft.committed() {
            let term = raft.term_at(index);
            let known = self.entries.get_mut(index as usize - 1);
            if let Some((committed, known_in)) = known {
                *known_in = raft.term().min(*known_in);
                ensure(term == Some(*committed), "committed", || {
                    format!(
                        "{} has {term:?} at {index}, but {committed} is committed there",
                        node.id
                    )
                })?;
            } else {
                ensure(index == self.entries.len() as u64 + 1, "committed", || {
                    format!(
                        "{} has committed {index}, and nobody what is before",
                        node.id
                    )
                })?;
                let term = term.unwrap_or_default();
                self.entries.push((term, raft.term()));
                new.push(Position::new(index, term));
            }
        }
        Ok(new)
    }
}
