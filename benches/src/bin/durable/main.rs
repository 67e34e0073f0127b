//! A durable write of a group of three processes on loopback, beside the floor under it on this machine at this
//! moment: a raw TCP round trip, and a raw write and flush while two other processes do the same.
//!
//! `durable [--rounds 7] [--seconds 2] [--dir path] [--json]`

mod floor;

use std::process::ExitCode;
use std::time::Duration;

use floor::Floor;
use little_raft_benches::{Bound, Group, Options, Pace, Report, Spread, be_replica_if_asked};

const BAR: f64 = 1.5;
/// Each waits for its write before the next.
const CLIENTS: [u64; 3] = [1, 64, 256];

fn main() -> ExitCode {
    be_replica_if_asked();
    floor::be_probe_if_asked();
    let options = Options::from_command_line();
    let rounds: usize = options.or("--rounds", 7);
    let time = Duration::from_secs_f64(options.or("--seconds", 2.0));
    let dir = options.find("--dir");
    let mut floor = Floor::prepare(dir.clone());
    let mut group = Group::start(dir);
    let leader = group.leader();
    group.at(leader).write(CLIENTS[1], time); // the log's first segments grow meanwhile
    let mut floors = Vec::new();
    let mut paces = vec![Vec::new(); CLIENTS.len()];
    for _ in 0..rounds {
        floors.push(floor.measure(time));
        for (clients, paces) in CLIENTS.iter().zip(&mut paces) {
            paces.push(group.at(leader).write(*clients, time));
        }
    }
    let mut report = Report::new("durable", &options);
    tell(&mut report, &floors, &paces);
    report.finish()
}

fn tell(report: &mut Report, floors: &[floor::Round], paces: &[Vec<Pace>]) {
    let of = |pick: fn(&floor::Round) -> f64| floors.iter().map(pick).collect::<Vec<f64>>();
    let floor = of(|round| round.both_us);
    report.figure(
        "floor: TCP round trip",
        "us",
        Spread::of(&of(|round| round.trip_us)),
    );
    report.figure(
        "floor: write and flush",
        "us",
        Spread::of(&of(|round| round.flush_us)),
    );
    report.figure("floor: both", "us", Spread::of(&floor));
    for (clients, paces) in CLIENTS.iter().zip(paces) {
        let of = |pick: fn(&Pace) -> f64| paces.iter().map(pick).collect::<Vec<f64>>();
        let name = |what: &str| format!("{clients} clients: {what}");
        report.figure(
            &name("acknowledged"),
            "writes/s",
            Spread::of(&of(|p| p.rate)),
        );
        report.figure(&name("median"), "us", Spread::of(&of(|p| p.median_us)));
        report.figure(
            &name("99th percentile"),
            "us",
            Spread::of(&of(|p| p.p99_us)),
        );
        let flushes = Spread::of(&of(|p| p.flushes));
        report.figure(&name("leader's flushes per write"), "", flushes);
    }
    let medians: Vec<f64> = paces[0].iter().map(|pace| pace.median_us).collect();
    let ratio = Spread::of_ratios(&medians, &floor);
    report.bar(
        "1 client's median over the floor",
        "times",
        ratio,
        Bound::AtMost(BAR),
    );
}
