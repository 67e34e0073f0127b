//! What clients see: reads are fresh, acknowledged commands stay, and whatever began ends.

use std::collections::BTreeMap;

use little_raft_core::Position;

use super::{Violation, ensure};
use crate::node::Ending;

/// A client's operation under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) is_read: bool,
    pub(crate) replica: u64,
    pub(crate) began: u64,
    /// All that was committed anywhere when it began: a read must see it.
    pub(crate) floor: u64,
    /// How many leaders there had been.
    pub(crate) leaders: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Operations {
    pub(crate) open: BTreeMap<u64, Operation>,
    pub(crate) acknowledged: u64,
    pub(crate) reads: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

impl Operations {
    /// Where the command stands, if it is acknowledged now.
    pub(crate) fn ended(
        &mut self,
        ticket: u64,
        ending: Ending,
    ) -> Result<Option<Position>, Violation> {
        let Some(operation) = self.open.remove(&ticket) else {
            // Its client has stopped waiting, and counts it as unknown.
            return Ok(None);
        };
        match ending {
            Ending::Unknown => self.unknown += 1,
            Ending::NotApplied => self.refused += 1,
            Ending::Applied(position) => {
                self.acknowledged += 1;
                return Ok(Some(position));
            }
            Ending::Read { index, applied } => {
                self.reads += 1;
                let floor = operation.floor;
                ensure(applied >= index && index >= floor, "fresh reads", || {
                    format!(
                        "read {ticket} on {} saw {applied} by index {index}, but {floor} was committed before it began",
                        operation.replica
                    )
                })?;
            }
        }
        Ok(None)
    }

    /// A replica has crashed: what was given to it has an unknown outcome.
    pub(crate) fn lost(&mut self, replica: u64) {
        let before = self.open.len();
        self.open
            .retain(|_, operation| operation.replica != replica);
        self.unknown += (before - self.open.len()) as u64;
    }

    /// Clients stop waiting for proposals that began before `then`. Reads have no excuse.
    pub(crate) fn expire(&mut self, then: u64) {
        let before = self.open.len();
        self.open
            .retain(|_, operation| operation.is_read || operation.began >= then);
        self.unknown += (before - self.open.len()) as u64;
    }
}
