//! Log matching: an entry's index and term say what it holds and all that stands before it (Raft, section 5.3).

use std::collections::BTreeMap;

use bytes::BytesMut;
use little_raft_core::{Codec, Entry, Position, Raft, State};

use super::{Violation, ensure};
use crate::node::{Effects, Node};
use crate::random::hash;

#[derive(Debug, Default)]
pub(crate) struct Matching {
    /// Each position ever written anywhere: a hash of the entry, and the term before it.
    entries: BTreeMap<Position, (u64, u64)>,
}

impl Matching {
    pub(crate) fn written(&mut self, node: &Node, effects: &Effects) -> Result<(), Violation> {
        let Some((before, entries)) = &effects.written else {
            return Ok(());
        };
        let gap = || "entries were written after a gap in the log".into();
        ensure(before.is_some(), "log matching", gap)?;
        let mut before = before.unwrap_or_default();
        check_times(node, entries)?;
        for entry in entries {
            let seen = (fingerprint(entry), before);
            let known = *self.entries.entry(entry.position).or_insert(seen);
            ensure(known == seen, "log matching", || {
                format!(
                    "{} differs between two logs, or what precedes it",
                    entry.position
                )
            })?;
            before = entry.position.term;
        }
        Ok(())
    }

    /// The terms that the core remembers are those of the entries it had written. Only for a drained core.
    pub(crate) fn whole_log(node: &Node, raft: &Raft) -> Result<(), Violation> {
        let log = &node.disk.logical;
        let first = raft.base().index.max(log.base.position.index);
        let differs = (first..=log.last().min(raft.last().index))
            .find(|&index| log.term_at(index) != raft.term_at(index));
        ensure(
            differs.is_none() && raft.last().index == log.last(),
            "log and disk",
            || {
                format!(
                    "{}: the terms at {differs:?} are not those written",
                    node.id
                )
            },
        )
    }
}

/// The time of a leader's entries never goes back along its log, whatever wall clocks do. The time of what a snapshot
/// covers is not known: who begins with nothing else may go back before it.
fn check_times(node: &Node, entries: &[Entry]) -> Result<(), Violation> {
    if node.raft().map(Raft::state) != Some(State::Leader) {
        return Ok(());
    }
    let first = entries.first().map_or(1, |entry| entry.position.index);
    let before = node.disk.logical.entries.get(&(first - 1));
    let times = before.into_iter().chain(entries).map(|entry| entry.time);
    ensure(times.is_sorted(), "times", || {
        format!("the entries of {} from {first} on go back in time", node.id)
    })
}

fn fingerprint(entry: &Entry) -> u64 {
    let mut bytes = BytesMut::new();
    entry.encode(&mut bytes);
    hash(0, &bytes)
}
