//! One operation on one register: what was asked for, when, and what the answer says.

use std::fmt;

/// What a register held; nothing before it was first written.
///
/// Who records a history gives each write a value of its own: then a read says which write it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held(pub Option<u64>);

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To be told the value.
    Get,
    /// To replace the value, whatever it is.
    Put {
        /// The new one.
        value: u64,
    },
    /// To replace the value if it is as expected.
    Swap {
        /// What it must be.
        expected: Held,
        /// The new one.
        value: u64,
    },
}

/// One call of one client, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who called; told to people only.
    pub client: u64,
    /// The register.
    pub key: String,
    /// What was asked for.
    pub call: Call,
    /// When it was called, in nanoseconds of one clock.
    pub called: u64,
    /// When it was answered. `None` if there was no answer, or one that doesn't say whether it was done: it may have
    /// taken effect at any moment since, or not yet.
    pub ended: Option<u64>,
    /// What the register held right before, if the answer says: what a get found, what a put replaced, what a swap was
    /// compared with.
    pub found: Option<Held>,
}

impl Operation {
    /// What the register holds after this on a register that held `before`; `None` if the answer says otherwise.
    pub(crate) fn step(&self, before: Held) -> Option<Held> {
        if self.found.is_some_and(|found| found != before) {
            return None;
        }
        Some(match self.call {
            Call::Get => before,
            Call::Put { value } => Held(Some(value)),
            Call::Swap { expected, value } if expected == before => Held(Some(value)),
            Call::Swap { .. } => before,
        })
    }

    /// The value that it may have written.
    pub(crate) fn written(&self) -> Option<u64> {
        match self.call {
            Call::Get => None,
            Call::Put { value } | Call::Swap { value, .. } => Some(value),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => f.write_str("get"),
            Self::Put { value } => write!(f, "put {value}"),
            Self::Swap { expected, value } => write!(f, "swap {expected} for {value}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        write!(f, "{:>12.3} to ", milliseconds(self.called))?;
        match self.ended {
            Some(ended) => write!(f, "{:<12.3}", milliseconds(ended))?,
            None => write!(f, "{:<12}", "?")?,
        }
        write!(f, " client {}: {}", self.client, self.call)?;
        match self.found {
            Some(found) => write!(f, ", found {found}"),
            None => Ok(()),
        }
    }
}
