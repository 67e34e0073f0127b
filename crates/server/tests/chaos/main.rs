//! Five real servers under faults and load: what their clients were told must have been possible, and nothing that was
//! acknowledged may be lost. `docs/testing.md` says more.

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod faults;
mod journal;
mod link;
mod member;
mod nemesis;
mod network;
mod random;
mod settings;
mod stale;
mod store;
mod verdict;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use common::Folder;
use journal::Journal;
use nemesis::Nemesis;
use random::Random;
use settings::Settings;
use verdict::judge;
use workload::{Counts, Workload};

/// Peace and the verdict end within this, or something hangs.
const AFTERWARDS: Duration = Duration::from_secs(240);

#[test]
fn five_servers_under_faults_lose_nothing_and_lie_to_nobody() {
    let settings = Settings::from_environment();
    let folder = Folder::new();
    let journal = Arc::new(Journal::new());
    let run = run(&settings, &folder, &journal);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let bound = settings.time + AFTERWARDS;
    let ended = runtime.block_on(async { tokio::time::timeout(bound, run).await });
    runtime.shutdown_background();
    let ended = ended.unwrap_or_else(|_| Err(format!("it hangs: it is not over after {bound:?}")));
    match ended {
        Ok(counts) => println!("{journal}\nseed {}: {counts:?}", settings.seed),
        Err(reason) => {
            let (kept, command) = (folder.0.clone(), settings.command());
            std::mem::forget(folder);
            panic!(
                "what was done:\n{journal}\n{reason}\n\nthe servers' logs: {}\nthe same faults again: {command}\n",
                kept.display()
            )
        }
    }
}

async fn run(
    settings: &Settings,
    folder: &Folder,
    journal: &Arc<Journal>,
) -> Result<Counts, String> {
    let mut random = Random::new(settings.seed);
    let cluster = Cluster::start(&folder.0, Arc::clone(journal), random.branch()).await;
    let workload = Workload::start(&cluster.clients(), journal, &mut random);
    let mut nemesis = Nemesis::new(cluster, random.branch());
    nemesis.rage(settings.time).await?;
    nemesis.make_peace().await?;
    let told = workload.stop().await;
    let counts = told.counts;
    judge(&nemesis.cluster, told).await?;
    Ok(counts)
}
