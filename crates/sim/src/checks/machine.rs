//! State machine safety: at equal indexes all state machines are equal (Raft, section 5.4.3).

use std::collections::BTreeMap;

use super::{Violation, ensure};
use crate::machine::Machine;
use crate::node::{Effects, Node};

#[derive(Debug, Default)]
pub(crate) struct MachineSafety {
    states: BTreeMap<u64, Machine>,
}

impl MachineSafety {
    pub(crate) fn applied(&mut self, node: &Node, effects: &Effects) -> Result<(), Violation> {
        for machine in &effects.machines {
            let known = *self
                .states
                .entry(machine.position.index)
                .or_insert(*machine);
            ensure(known == *machine, "state machine safety", || {
                format!("{} is at {machine:?}, another was at {known:?}", node.id)
            })?;
        }
        Ok(())
    }
}
