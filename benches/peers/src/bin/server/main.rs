//! Puts a second of our server and of etcd, three processes each, on this machine's disk, by the same client in turn.
//!
//! `server --etcd path [--little-raft path] [--rounds 5] [--seconds 5] [--clients 256] [--connections 16] [--bytes 256]
//! [--only little-raft|etcd] [--dir path] [--json]`

mod cluster;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::Cluster;
use etcd_client::{Client, KvClient};
use little_raft_benches::{Bound, Options, Report, Spread};
use tokio::runtime::Runtime;

const BAR: f64 = 1.5;
/// Keys that are written again and again.
const KEYS: u64 = 10_000;
const OURS: &str = "little-raft";
const THEIRS: &str = "etcd";

/// How the load is made.
#[derive(Clone, Copy)]
struct Load {
    clients: u64,
    connections: u64,
    bytes: usize,
    time: Duration,
}

/// One round of one side.
struct Round {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn main() -> ExitCode {
    let options = Options::from_command_line();
    let load = Load {
        clients: options.or("--clients", 256),
        connections: options.or("--connections", 16),
        bytes: options.or("--bytes", 256),
        time: Duration::from_secs_f64(options.or("--seconds", 5.0)),
    };
    let rounds: usize = options.or("--rounds", 5);
    let mut report = Report::new("server", &options);
    let runtime = Runtime::new().expect("the runtime starts");
    let sides = clusters(&options);
    let mut measured: Vec<Vec<Round>> = sides.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, cluster), rounds) in sides.iter().zip(&mut measured) {
            rounds.push(runtime.block_on(measure(cluster, load)));
        }
    }
    tell(&mut report, &sides, &measured, load.clients);
    drop(sides);
    report.finish()
}

fn clusters(options: &Options) -> Vec<(&'static str, Cluster)> {
    let dir: PathBuf = options.find("--dir").unwrap_or_else(std::env::temp_dir);
    let only: Option<String> = options.find("--only");
    let ours = options.or(
        "--little-raft",
        PathBuf::from("../../target/release/little-raft"),
    );
    let mut sides = Vec::new();
    if only.as_deref().is_none_or(|only| only == OURS) {
        sides.push((OURS, Cluster::start(OURS, &ours, &["serve"], &dir)));
    }
    if only.as_deref().is_none_or(|only| only == THEIRS) {
        let etcd: PathBuf = options.find("--etcd").expect("--etcd names etcd's binary");
        sides.push((THEIRS, Cluster::start(THEIRS, &etcd, &[], &dir)));
    }
    sides
}

/// All clients write to the leader, each waiting for its put before the next.
async fn measure(cluster: &Cluster, load: Load) -> Round {
    let leader = cluster.leader().await;
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        let client = Client::connect([&leader], None)
            .await
            .expect("the leader listens");
        connections.push(client.kv_client());
    }
    let begun = Instant::now();
    let tasks: Vec<_> = (0..load.clients)
        .map(|at| {
            let client = connections[(at % load.connections) as usize].clone();
            tokio::spawn(put_until(client, at, load.bytes, begun + load.time))
        })
        .collect();
    let mut millis = Vec::new();
    for task in tasks {
        millis.extend(task.await.expect("no client panics"));
    }
    let rate = millis.len() as f64 / begun.elapsed().as_secs_f64();
    millis.sort_by(f64::total_cmp);
    Round {
        rate,
        p50_ms: millis[millis.len() / 2],
        p99_ms: millis[millis.len() * 99 / 100],
    }
}

async fn put_until(mut client: KvClient, seed: u64, bytes: usize, until: Instant) -> Vec<f64> {
    let value = vec![b'v'; bytes];
    let mut state = seed + 1;
    let mut millis = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= until {
            return millis;
        }
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = format!("key/{:05}", (state >> 33) % KEYS);
        let put = client.put(key, value.clone(), None).await;
        put.expect("nothing disturbs it");
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
    }
}

fn tell(report: &mut Report, sides: &[(&str, Cluster)], measured: &[Vec<Round>], clients: u64) {
    let rates = |rounds: &[Round]| rounds.iter().map(|r| r.rate).collect::<Vec<f64>>();
    for ((name, _), rounds) in sides.iter().zip(measured) {
        let of =
            |pick: fn(&Round) -> f64| Spread::of(&rounds.iter().map(pick).collect::<Vec<f64>>());
        report.figure(
            &format!("{name}, {clients} clients"),
            "puts/s",
            of(|r| r.rate),
        );
        report.figure(
            &format!("{name}, {clients} clients: median"),
            "ms",
            of(|r| r.p50_ms),
        );
        report.figure(
            &format!("{name}, {clients} clients: 99th"),
            "ms",
            of(|r| r.p99_ms),
        );
    }
    if let [ours, theirs] = measured {
        let ratio = Spread::of_ratios(&rates(ours), &rates(theirs));
        report.bar("little-raft over etcd", "times", ratio, Bound::AtLeast(BAR));
    }
}
