//! What is printed of a seed that was made short.

use std::process::ExitCode;

use little_raft_sim::{Options, Report, run};

use crate::arguments::Arguments;
use crate::shrink::{fails, shrink};

/// Looks for seeds that fail, and prints the first that can be told as a script.
pub(crate) fn print_shortest(arguments: &Arguments) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let batch = arguments.batch();
    let options = Options {
        record: true,
        #[cfg(feature = "plants")]
        plant: arguments.plant.first().copied(),
        ..batch.options
    };
    let mut has_failed = false;
    for seed in batch.start..batch.start.saturating_add(batch.seeds) {
        let report = run(seed, &options);
        has_failed |= report.violation.is_some();
        if report.violation.is_some() && print_script(&report, arguments) {
            return ExitCode::FAILURE;
        }
    }
    println!("no seed failed that can be told as a script");
    ExitCode::from(u8::from(has_failed))
}

fn print_script(report: &Report, arguments: &Arguments) -> bool {
    let (Some(violation), Some(record)) = (&report.violation, &report.record) else {
        return false;
    };
    let count = record.happened.len();
    let told = shrink(record).filter(|played| is_planted_alone(&played.script, arguments));
    let Some(played) = told else {
        let (seed, invariant) = (report.seed, violation.invariant);
        println!("seed {seed}: {invariant}, by {count} events that don't fail as a script");
        return false;
    };
    let failure = played.failure.unwrap_or_default();
    let failure = failure.lines().next().unwrap_or_default();
    println!("# Seed {} failed: {}.", report.seed, violation.invariant);
    println!("# Repeat with: {}", arguments.command_of(report.seed));
    println!("# Of {count} events these are left. The last fails: {failure}");
    println!("{}", played.script.join("\n"));
    true
}

/// Whether the script fails for others too; with a bug that is planted, and only with it.
#[cfg_attr(not(feature = "plants"), expect(unused_variables))]
fn is_planted_alone(script: &[String], arguments: &Arguments) -> bool {
    let has_failed = fails(script);
    #[cfg(feature = "plants")]
    if let Some(&plant) = arguments.plant.first() {
        little_raft_sim::Plant::plant(None);
        let is_alone = !fails(script);
        little_raft_sim::Plant::plant(Some(plant));
        return has_failed && is_alone;
    }
    has_failed
}
