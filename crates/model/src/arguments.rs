//! The command line.

use std::time::Duration;

use clap::Parser;
use little_raft_core::Plant;
use little_raft_model::{Bounds, Cluster, Setting};

/// Walks through every state that three replicas can reach within bounds.
#[derive(Debug, Parser)]
#[command(name = "little-raft-model")]
pub(crate) struct Arguments {
    /// Begin here: elections, replication, members, reads, leases, snapshots; all of them, unless told
    #[arg(long, value_parser = setting)]
    setting: Option<Setting>,
    /// The small bounds that CI has
    #[arg(long)]
    quick: bool,
    /// Election timeouts
    #[arg(long)]
    timeouts: Option<u8>,
    /// Wakes of leaders
    #[arg(long)]
    heartbeats: Option<u8>,
    /// Crashes
    #[arg(long)]
    crashes: Option<u8>,
    /// Messages that are lost or overtaken
    #[arg(long)]
    stragglers: Option<u8>,
    /// Messages that arrive twice
    #[arg(long)]
    duplicates: Option<u8>,
    /// Commands
    #[arg(long)]
    proposals: Option<u8>,
    /// Changes of members
    #[arg(long)]
    changes: Option<u8>,
    /// Reads
    #[arg(long)]
    reads: Option<u8>,
    /// Snapshots after which a log begins
    #[arg(long)]
    compactions: Option<u8>,
    /// Nanoseconds that a clock loses
    #[arg(long)]
    slips: Option<u8>,
    /// How many threads; as many as there are cores, unless told
    #[arg(long)]
    threads: Option<usize>,
    /// Give up on bounds that take longer than so many seconds
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Fail if something that must be reached was not
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Plant this known bug of other systems (several: p02,p17), and walk until it is found
    #[arg(long, value_parser = plant, value_delimiter = ',', conflicts_with = "plants")]
    pub(crate) plant: Vec<Plant>,
    /// Plant each known bug in turn, and print what found it
    #[arg(long)]
    pub(crate) plants: bool,
}

impl Arguments {
    /// What to walk through, the smallest first.
    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        let settings = Setting::ALL.into_iter();
        let settings = settings.filter(|it| self.setting.is_none_or(|wanted| wanted == *it));
        let all = settings.flat_map(|setting| {
            let all = self.bounds_of(setting).into_iter();
            all.map(move |bounds| Cluster {
                setting,
                bounds: self.narrowed(bounds),
                plant: None,
            })
        });
        all.collect()
    }

    fn bounds_of(&self, setting: Setting) -> Vec<Bounds> {
        match self.quick {
            true => setting.small(),
            false => setting.large(),
        }
    }

    fn narrowed(&self, bounds: Bounds) -> Bounds {
        Bounds {
            timeouts: self.timeouts.unwrap_or(bounds.timeouts),
            heartbeats: self.heartbeats.unwrap_or(bounds.heartbeats),
            crashes: self.crashes.unwrap_or(bounds.crashes),
            stragglers: self.stragglers.unwrap_or(bounds.stragglers),
            duplicates: self.duplicates.unwrap_or(bounds.duplicates),
            proposals: self.proposals.unwrap_or(bounds.proposals),
            changes: self.changes.unwrap_or(bounds.changes),
            reads: self.reads.unwrap_or(bounds.reads),
            compactions: self.compactions.unwrap_or(bounds.compactions),
            slips: self.slips.unwrap_or(bounds.slips),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(cores).max(1)
    }

    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn setting(name: &str) -> Result<Setting, String> {
    let names = Setting::ALL.map(Setting::name);
    Setting::named(name).ok_or_else(|| format!("there are {}", names.join(", ")))
}

fn plant(name: &str) -> Result<Plant, String> {
    let names: Vec<&str> = Plant::ALL.iter().map(|plant| plant.name()).collect();
    Plant::named(name).ok_or_else(|| format!("there are {}", names.join(", ")))
}
