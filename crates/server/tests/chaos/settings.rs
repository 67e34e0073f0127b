//! How long, and which faults.

use std::time::{Duration, SystemTime};

const SECONDS: &str = "LITTLE_RAFT_CHAOS_SECONDS";
const SEED: &str = "LITTLE_RAFT_CHAOS_SEED";
const SECONDS_DEFAULT: u64 = 60;

pub struct Settings {
    pub seed: u64,
    /// Faults come for so long; then all is mended and checked.
    pub time: Duration,
}

impl Settings {
    pub fn from_environment() -> Self {
        let clock = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.expect("it is after 1970").as_secs()
        };
        Self {
            seed: number(SEED).unwrap_or_else(clock),
            time: Duration::from_secs(number(SECONDS).unwrap_or(SECONDS_DEFAULT)),
        }
    }

    /// The faults come in the same order with the same seed; what they meet differs from run to run.
    pub fn command(&self) -> String {
        format!(
            "{SEED}={} {SECONDS}={} cargo test -p little-raft-server --features chaos --test chaos -- --nocapture",
            self.seed,
            self.time.as_secs()
        )
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
