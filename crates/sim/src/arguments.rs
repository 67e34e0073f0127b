//! The command line.

use std::ops::Range;
use std::time::Duration;

use clap::Parser;
use little_raft_sim::{Batch, Faults, Options};

/// Runs a simulated cluster through faults, once for each seed, and says how to repeat the seed that fails.
#[derive(Debug, Parser)]
#[command(name = "little-raft-sim")]
pub(crate) struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 200)]
    pub(crate) seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub(crate) start: u64,
    /// Run until so many minutes have passed, whatever --seeds says
    #[arg(long)]
    minutes: Option<u64>,
    /// How many replicas found the group: a number, or a range such as 3..7
    #[arg(long, default_value = "1..7", value_parser = range)]
    pub(crate) replicas: (u64, u64),
    /// Only these faults, by name or group; `none` for none, and a wrong name lists them
    #[arg(long, default_value = "all")]
    pub(crate) faults: Faults,
    /// How many seeds run at a time; as many as there are cores, unless told
    #[arg(long)]
    jobs: Option<usize>,
    /// One JSON object a seed, and one for all in the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print all that happens
    #[arg(long)]
    pub(crate) trace: bool,
    /// Run all seeds even if some fail
    #[arg(long)]
    pub(crate) go_on: bool,
    /// Run whole replicas, from the driver to the log in files, under a small state machine
    #[arg(long, conflicts_with_all = ["faults", "trace", "replicas", "minutes", "json"])]
    pub(crate) whole: bool,
    /// Fail if a hard situation was never reached
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Make the first seed that fails a short script in the format of the core's scenarios
    #[cfg(feature = "shrink")]
    #[arg(long, conflicts_with_all = ["whole", "json"])]
    pub(crate) shrink: bool,
    /// Plant this known bug of other systems (several: p02,p17), and run until it is found
    #[cfg(feature = "plants")]
    #[arg(long, value_parser = plant, value_delimiter = ',', conflicts_with = "plants")]
    pub(crate) plant: Vec<little_raft_sim::Plant>,
    /// Plant each known bug in turn, and print what found it
    #[cfg(feature = "plants")]
    #[arg(long)]
    pub(crate) plants: bool,
}

impl Arguments {
    pub(crate) fn jobs(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or(cores).max(1)
    }

    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.seeds)
    }

    pub(crate) fn batch(&self) -> Batch {
        let jobs = self.jobs();
        let options = Options {
            replicas: self.replicas,
            faults: self.faults,
            trace: self.trace,
            ..Options::default()
        };
        Batch {
            start: self.start,
            seeds: self.minutes.map_or(self.seeds, |_| u64::MAX),
            jobs: if self.trace { 1 } else { jobs },
            options,
        }
    }

    /// What repeats this seed alone.
    pub(crate) fn command_of(&self, seed: u64) -> String {
        let (low, high) = self.replicas;
        let faults = match self.faults {
            Faults::ALL => String::new(),
            some => format!(" --faults {some}"),
        };
        let (features, plant) = self.planted();
        format!(
            "cargo run -p little-raft-sim --release{features} -- --start {seed} --seeds 1 \
             --replicas {low}..{high}{faults}{plant}"
        )
    }

    /// What the command line needs for the planted bug.
    #[cfg(feature = "plants")]
    fn planted(&self) -> (&'static str, String) {
        match self.plant.first() {
            Some(plant) => (" --features plants", format!(" --plant {}", plant.name())),
            None => Default::default(),
        }
    }

    #[cfg(not(feature = "plants"))]
    fn planted(&self) -> (&'static str, &'static str) {
        Default::default()
    }

    pub(crate) fn is_over(&self, ran_for: Duration) -> bool {
        let minutes = self
            .minutes
            .map(|minutes| Duration::from_secs(60 * minutes));
        minutes.is_some_and(|minutes| ran_for >= minutes)
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (number(low), number(high)) {
        (Some(low), Some(high)) if 0 < low && low <= high && high <= 9 => Ok((low, high)),
        _ => Err(format!("{text} is no range of replicas between 1 and 9")),
    }
}

#[cfg(feature = "plants")]
fn plant(name: &str) -> Result<little_raft_sim::Plant, String> {
    let all = little_raft_sim::Plant::ALL.iter().map(|plant| plant.name());
    little_raft_sim::Plant::named(name)
        .ok_or_else(|| format!("the plants are {}", all.collect::<Vec<_>>().join(" ")))
}
