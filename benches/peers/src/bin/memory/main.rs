//! Three replicas in one process, all in memory, empty commands, each client waiting for its write: the work of
//! openraft's own `minimal` benchmark, for openraft and for us in turn.
//!
//! Clients are tasks of one runtime on both sides. openraft's tasks run in that same runtime, which suits it best on
//! few cores, or with `--own-runtime` as in its own benchmark: in one of 16 threads, and clients in another of one.
//!
//! `memory [--rounds 5] [--seconds 2] [--clients 1|64|4096] [--own-runtime] [--only ours|openraft] [--json]`

mod openraft_side;
mod our_side;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use little_raft_benches::{Bound, Options, Report, Spread};
use tokio::runtime::{Builder, Runtime};

/// Clients, and how many times openraft's rate is wanted with so many.
const BARS: [(u64, f64); 3] = [(1, 20.0), (64, 4.0), (4096, 2.0)];

fn main() -> ExitCode {
    let options = Options::from_command_line();
    let rounds: usize = options.or("--rounds", 5);
    let time = Duration::from_secs_f64(options.or("--seconds", 2.0));
    let clients: Option<u64> = options.find("--clients");
    let bars = BARS.iter().copied();
    let bars = bars.filter(|(count, _)| clients.is_none_or(|clients| clients == *count));
    let only: Option<String> = options.find("--only");
    let runs = |side: &str| only.as_ref().is_none_or(|only| only == side);
    let runtimes = Runtimes::start(options.has("--own-runtime"));
    let mut report = Report::new("memory", &options);
    for (clients, bar) in bars {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            if runs("openraft") {
                theirs.push(measure_openraft(&runtimes, clients, time));
            }
            if runs("ours") {
                ours.push(runtimes.clients.block_on(measure_ours(clients, time)));
            }
        }
        let name = |what: &str| format!("{clients} clients: {what}");
        for (side, rates) in [("openraft", &theirs), ("little-raft", &ours)] {
            if !rates.is_empty() {
                report.figure(&name(side), "writes/s", Spread::of(rates));
            }
        }
        if only.is_none() {
            let ratio = Spread::of_ratios(&ours, &theirs);
            report.bar(&name("ratio"), "times", ratio, Bound::AtLeast(bar));
        }
    }
    report.finish()
}

struct Runtimes {
    clients: Runtime,
    /// openraft's own, if it is not the clients'.
    openraft: Option<Runtime>,
}

impl Runtimes {
    fn start(own: bool) -> Self {
        let of = |threads: Option<usize>| {
            let mut builder = Builder::new_multi_thread();
            threads.map(|count| builder.worker_threads(count));
            builder.enable_all().build().expect("a runtime starts")
        };
        Self {
            clients: of(own.then_some(1)),
            openraft: own.then(|| of(Some(16))),
        }
    }
}

fn measure_openraft(runtimes: &Runtimes, clients: u64, time: Duration) -> f64 {
    let own = runtimes.openraft.as_ref().unwrap_or(&runtimes.clients);
    let group = own.block_on(openraft_side::Group::start());
    let rate = runtimes
        .clients
        .block_on(rate(clients, time, group.leader()));
    own.block_on(group.stop());
    rate
}

async fn measure_ours(clients: u64, time: Duration) -> f64 {
    let group = our_side::Group::start().await;
    rate(clients, time, group.leader()).await
}

/// Who writes and waits until that is acknowledged.
trait Client: Clone + Send + Sync + 'static {
    fn write(&self) -> impl Future<Output = ()> + Send;
}

/// Writes a second of so many clients, each a task.
async fn rate(clients: u64, time: Duration, client: impl Client) -> f64 {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut count = 0u64;
                while begun.elapsed() < time {
                    client.write().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("no client panics");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
