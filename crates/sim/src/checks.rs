//! What must hold after every step, each in a file of its own, and none of it trusting the code under test.

mod changes;
mod committed;
mod completeness;
mod durability;
mod election;
mod leading;
mod machine;
mod matching;
mod once;
mod operations;
mod promises;
mod quorum;
mod settled;

use std::fmt;

use changes::Changes;
pub(crate) use committed::Committed;
use completeness::check_electable;
pub(crate) use durability::check_durable;
pub(crate) use election::Election;
use leading::Leading;
pub(crate) use machine::MachineSafety;
pub(crate) use matching::Matching;
pub(crate) use once::Once;
use promises::check_promises;
pub(crate) use quorum::has_quorum;
pub(crate) use settled::Settled;

pub(crate) use operations::{Operation, Operations};

use little_raft_core::Membership;

use crate::coverage::Situation;
use crate::node::{Effects, Node};
use crate::observer::Observer;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant: its name in one or two words.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// An error that names the invariant, unless it holds.
pub(crate) fn ensure(
    holds: bool,
    invariant: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        return Ok(());
    }
    Err(Violation {
        invariant,
        what: what(),
    })
}

/// All that is known about a run from outside.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) election: Election,
    /// Counts hard situations, and judges nothing.
    pub(crate) observer: Observer,
    matching: Matching,
    pub(crate) changes: Changes,
    pub(crate) leading: Leading,
    pub(crate) committed: Committed,
    machine: MachineSafety,
    once: Once,
    pub(crate) settled: Settled,
    pub(crate) operations: Operations,
    steps: u64,
}

impl Checks {
    pub(crate) fn new(founders: Membership) -> Self {
        Self {
            election: Election::default(),
            observer: Observer::default(),
            matching: Matching::default(),
            changes: Changes::new(founders),
            leading: Leading::default(),
            committed: Committed::default(),
            machine: MachineSafety::default(),
            once: Once::default(),
            settled: Settled::default(),
            operations: Operations::default(),
            steps: 0,
        }
    }

    /// Looks at one replica after it has taken a step.
    pub(crate) fn stepped(
        &mut self,
        nodes: &[Node],
        at: usize,
        now: u64,
        effects: &Effects,
    ) -> Result<(), Violation> {
        let node = &nodes[at];
        let Some(raft) = node.raft() else {
            return Ok(());
        };
        raft.check_invariants();
        check_promises(node, effects)?;
        self.matching.written(node, effects)?;
        self.election.voted(effects);
        if self.election.is_new_leader(node, raft)? {
            self.committed.leader_is_complete(node, raft)?;
        }
        for position in self.committed.advanced(node, raft)? {
            check_durable(nodes, raft, position)?;
            check_electable(nodes, position)?;
            self.observer.committed(raft, position);
            if self.changes.committed(position) {
                self.observer.coverage.reach(Situation::JointCommitted);
            }
        }
        self.observer.stepped(now, node, raft, effects);
        self.changes.stepped(node, raft, effects, &self.committed)?;
        self.leading.stepped(now, node, raft)?;
        self.machine.applied(node, effects)?;
        self.settled.begins(node, effects)?;
        self.once.applied(effects)?;
        for (ticket, ending) in &effects.ended {
            self.once.ended(*ticket, *ending)?;
            if let Some(position) = self.operations.ended(*ticket, *ending)? {
                self.committed.holds(position)?;
            }
        }
        self.steps += 1;
        if self.steps.is_multiple_of(512) && effects.is_drained {
            Matching::whole_log(node, raft)?;
        }
        Ok(())
    }
}
