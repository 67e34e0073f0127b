//! What the command prints.

use std::time::Duration;

use little_raft_sim::{Coverage, Report};

use crate::arguments::Arguments;

/// What all seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seeds: u64,
    pub(crate) failed: Vec<u64>,
    simulated_nanos: u64,
    /// Over the hashes of all runs, in the order of their seeds.
    hash: u64,
    pub(crate) coverage: Coverage,
}

impl Tally {
    pub(crate) fn add(&mut self, report: &Report) {
        self.seeds += 1;
        let is_failed = report.violation.is_some();
        self.failed.extend(is_failed.then_some(report.seed));
        self.simulated_nanos += report.virtual_nanos;
        self.hash = (self.hash ^ report.hash).wrapping_mul(0x0100_0000_01b3);
        self.coverage.add(&report.coverage);
    }
}

pub(crate) fn report(report: &Report, arguments: &Arguments) {
    if arguments.json {
        println!("{}", json(report));
    } else {
        println!("{}", line(report));
    }
    if let Some(violation) = &report.violation {
        let (seed, command) = (report.seed, arguments.command_of(report.seed));
        eprintln!("seed {seed} failed: {violation}\nrepeat with: {command} --trace");
        eprintln!("or, as a short script, with --features shrink, and --shrink instead of --trace");
    }
}

fn line(report: &Report) -> String {
    format!(
        "seed {:>4}: {} replicas, {:>3} s, {:>6} events, {:>5} committed, {:>5} acknowledged, {:>5} reads, \
         {:>5} refused, {:>4} unknown, hash {:016x}",
        report.seed,
        report.replicas,
        report.virtual_nanos / 1_000_000_000,
        report.events,
        report.committed,
        report.acknowledged,
        report.reads,
        report.refused,
        report.unknown,
        report.hash
    )
}

fn json(report: &Report) -> String {
    let violation = match &report.violation {
        Some(violation) => format!("{:?}", violation.to_string()),
        None => "null".into(),
    };
    format!(
        "{{\"seed\": {}, \"replicas\": {}, \"virtual_ms\": {}, \"events\": {}, \"committed\": {}, \"acknowledged\": {}, \
         \"reads\": {}, \"refused\": {}, \"unknown\": {}, \"hash\": \"{:016x}\", \"violation\": {violation}}}",
        report.seed,
        report.replicas,
        report.virtual_nanos / 1_000_000,
        report.events,
        report.committed,
        report.acknowledged,
        report.reads,
        report.refused,
        report.unknown,
        report.hash
    )
}

/// The last lines.
pub(crate) fn tally(tally: &Tally, wall: Duration, arguments: &Arguments) {
    let (simulated, wall) = (tally.simulated_nanos as f64 / 1e9, wall.as_secs_f64());
    let (seeds, failed, hash) = (tally.seeds, tally.failed.len(), tally.hash);
    let speedup = simulated / wall.max(1e-9);
    if arguments.json {
        let counts: Vec<String> = tally
            .coverage
            .counts()
            .map(|(name, count)| format!("{name:?}: {count}"))
            .collect();
        println!(
            "{{\"seeds\": {seeds}, \"failed\": {:?}, \"simulated_s\": {simulated:.0}, \"wall_s\": {wall:.1}, \
             \"speedup\": {speedup:.0}, \"hash\": \"{hash:016x}\", \"coverage\": {{{}}}}}",
            tally.failed,
            counts.join(", ")
        );
        return;
    }
    for (name, count) in tally.coverage.counts() {
        println!("{count:>9} {name}");
    }
    println!(
        "{seeds} seeds, {simulated:.0} s simulated in {wall:.1} s, {speedup:.0} times faster than real time, \
         {failed} failed, hash {hash:016x}"
    );
    if let Some(missed) = tally.coverage.first_missed().filter(|_| arguments.coverage) {
        eprintln!("never reached: {missed}");
    }
}
