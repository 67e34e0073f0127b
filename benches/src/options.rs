//! The command line: `--json`, and `--name value`.

use std::str::FromStr;

/// What was asked for.
pub struct Options {
    words: Vec<String>,
}

impl Options {
    /// This process's own.
    pub fn from_command_line() -> Self {
        Self {
            words: std::env::args().skip(1).collect(),
        }
    }

    /// Whether `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// The value after `name`, if it is there.
    ///
    /// # Panics
    /// When it can't be read: there is nothing to measure then.
    pub fn find<T: FromStr>(&self, name: &str) -> Option<T> {
        let at = self.words.iter().position(|word| word == name)?;
        let value = self.words.get(at + 1).and_then(|word| word.parse().ok());
        Some(value.unwrap_or_else(|| panic!("{name} needs a value")))
    }

    /// The value after `name`, or else `default`.
    ///
    /// # Panics
    /// As [`find`](Self::find).
    pub fn or<T: FromStr>(&self, name: &str, default: T) -> T {
        self.find(name).unwrap_or(default)
    }
}
