//! Applied once: no command takes effect at two indexes, and none that was told to be refused does at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, ensure};
use crate::machine::ticket;
use crate::node::{Effects, Ending};

#[derive(Debug, Default)]
pub(crate) struct Once {
    /// Where each command was applied.
    applied: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
}

impl Once {
    pub(crate) fn applied(&mut self, effects: &Effects) -> Result<(), Violation> {
        for entry in &effects.applied {
            let Some(ticket) = ticket(entry) else {
                continue;
            };
            let index = entry.position.index;
            let known = *self.applied.entry(ticket).or_insert(index);
            ensure(known == index, "applied once", || {
                format!("command {ticket} was applied at {known} and at {index}")
            })?;
            ensure(!self.refused.contains(&ticket), "outcome", || {
                format!("command {ticket} was refused, yet it is applied at {index}")
            })?;
        }
        Ok(())
    }

    pub(crate) fn ended(&mut self, ticket: u64, ending: Ending) -> Result<(), Violation> {
        if ending != Ending::NotApplied {
            return Ok(());
        }
        self.refused.insert(ticket);
        ensure(!self.applied.contains_key(&ticket), "outcome", || {
            format!("command {ticket} is refused, yet it was applied")
        })
    }
}
