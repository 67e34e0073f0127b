//! What was done to the servers, and when; and the one clock of a run.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub struct Journal {
    begun: Instant,
    lines: Mutex<Vec<(Duration, String)>>,
}

impl Journal {
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            lines: Mutex::default(),
        }
    }

    /// Since the run began; histories count in the same nanoseconds.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn note(&self, line: impl Into<String>) {
        let mut lines = self.lines.lock().expect("nobody panics with it");
        lines.push((self.elapsed(), line.into()));
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.lock().expect("nobody panics with it");
        for (at, line) in lines.iter() {
            writeln!(f, "{:>12.3} {line}", at.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}
