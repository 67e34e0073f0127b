//! How long a group goes without an acknowledged write after its leader was killed or paused; with `--calm`, whether
//! it changes its leader without a reason.
//!
//! `failover [--rounds 7] [--dir path] [--json]`, `failover --calm [--minutes 5] [--clients 64] [--dir path] [--json]`

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use little_raft_benches::{Bound, Group, Options, Report, Spread, be_replica_if_asked};

const BAR_MILLIS: f64 = 700.0;
/// Load before the blow: a group at rest would be too easy.
const CLIENTS: u64 = 4;
const UNDER_LOAD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Blow {
    Kill,
    Pause,
}

fn main() -> ExitCode {
    be_replica_if_asked();
    let options = Options::from_command_line();
    let mut report = Report::new("failover", &options);
    let mut group = Group::start(options.find::<PathBuf>("--dir"));
    if options.has("--calm") {
        calm(&mut group, &mut report, &options);
    } else {
        blows(&mut group, &mut report, options.or("--rounds", 7));
    }
    drop(group);
    report.finish()
}

fn blows(group: &mut Group, report: &mut Report, rounds: u32) {
    let (mut killed, mut paused) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        killed.push(gap(group, Blow::Kill));
        paused.push(gap(group, Blow::Pause));
    }
    let bound = Bound::AtMost(BAR_MILLIS);
    report.bar(
        "kill -9 of the leader to the next write",
        "ms",
        Spread::of(&killed),
        bound,
    );
    report.bar(
        "SIGSTOP of the leader to the next write",
        "ms",
        Spread::of(&paused),
        bound,
    );
}

/// Takes the leader away; the milliseconds until a write proposed after that is acknowledged by another. Brings it
/// back in the end.
fn gap(group: &mut Group, blow: Blow) -> f64 {
    group.settle();
    let leader = group.leader();
    group.at(leader).begin_load(CLIENTS);
    thread::sleep(UNDER_LOAD);
    let others: Vec<u64> = group.ids().filter(|id| *id != leader).collect();
    match blow {
        Blow::Kill => group.at(leader).kill(),
        Blow::Pause => group.at(leader).pause(),
    }
    for id in &others {
        group.at(*id).probe();
    }
    let waited = others.iter().map(|id| group.at(*id).probed());
    let waited = waited.min().expect("two are left");
    match blow {
        Blow::Kill => group.restart(leader),
        Blow::Pause => {
            group.at(leader).resume();
            group.at(leader).end_load();
        }
    }
    waited.as_secs_f64() * 1e3
}

/// Full load and nothing else: the term must stay as it is.
fn calm(group: &mut Group, report: &mut Report, options: &Options) {
    let minutes: f64 = options.or("--minutes", 5.0);
    let leader = group.leader();
    let before = group.at(leader).status();
    group.at(leader).begin_load(options.or("--clients", 64));
    let begun = Instant::now();
    let time = Duration::from_secs_f64(minutes * 60.0);
    while begun.elapsed() < time {
        thread::sleep(Duration::from_secs(1).min(time));
    }
    let terms = group.ids().map(|id| group.at(id).status().term);
    let elections = terms.max().expect("three are there") - before.term;
    let writes = group.at(leader).status().committed - before.committed;
    group.at(leader).end_load();
    let rate = writes as f64 / begun.elapsed().as_secs_f64();
    report.figure("rate meanwhile", "writes/s", Spread::of(&[rate]));
    report.figure("for", "minutes", Spread::of(&[minutes]));
    let found = Spread::of(&[elections as f64]);
    report.bar(
        "elections that nothing caused",
        "",
        found,
        Bound::AtMost(0.0),
    );
}
