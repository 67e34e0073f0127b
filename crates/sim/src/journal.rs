//! The event log of a run: equal for equal seeds, byte for byte.

use std::fmt::{self, Write as _};

/// Hashes every line, and prints them if asked to.
pub(crate) struct Journal {
    hash: u64,
    lines: u64,
    is_printing: bool,
}

impl Journal {
    pub(crate) fn new(is_printing: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            is_printing,
        }
    }

    /// One line: when (nanoseconds of virtual time), and what.
    pub(crate) fn note(&mut self, at: u64, what: fmt::Arguments<'_>) {
        self.lines += 1;
        writeln!(self, "{at} {what}").expect("hashing never fails");
        if self.is_printing {
            println!("{:>12.6} {what}", at as f64 / 1e9);
        }
    }

    /// What only a reader of the printed log wants to know.
    pub(crate) fn detail(&self, at: u64, what: fmt::Arguments<'_>) {
        if self.is_printing {
            println!("{:>12.6}     {what}", at as f64 / 1e9);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}

impl fmt::Write for Journal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
