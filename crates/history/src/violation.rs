//! A history that can't have been, told so that people see why.

use std::fmt;

use crate::{Held, Operation};

/// No order of the operations explains their answers.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The register.
    pub key: String,
    /// All operations on it, in the order of their calls.
    pub history: Vec<Operation>,
    /// Which of them can't have ended as it did, when all that ended before it did end as they did.
    pub at: usize,
    /// What the register may have held just before that end.
    pub possible: Vec<Held>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let possible: Vec<String> = self.possible.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "the history of {:?} is not linearizable: when the marked operation ended, the register may have held {}",
            self.key,
            possible.join(" or ")
        )?;
        for (number, operation) in self.history.iter().enumerate() {
            let mark = if number == self.at { ">>>" } else { "   " };
            writeln!(f, "{mark} {operation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}
