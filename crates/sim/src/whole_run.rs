//! Seeds of whole replicas, as many at once as there are cores, under a state machine that counts.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use little_raft_sim::{Chance, Failed, Histogram, Passed, in_order, simulate};

use crate::arguments::Arguments;

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    // What panics is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let (mut all, mut failed) = (Passed::default(), 0);
    in_order(arguments.range(), arguments.jobs(), one, |ended| {
        match ended {
            Ok(passed) => all.add(passed),
            Err(violation) => {
                println!("{violation}");
                failed += 1;
            }
        }
        match failed > 0 && !arguments.go_on {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    report(&all, failed, began);
    ExitCode::from(u8::from(failed > 0))
}

/// One seed of whole replicas under a machine that counts.
pub(crate) fn one(seed: u64) -> Result<Passed, Failed> {
    let byte = |chance: &mut Chance<'_>| vec![chance.below(200) as u8];
    simulate(Histogram::default, byte, seed..=seed)
}

fn report(passed: &Passed, failed: usize, began: Instant) {
    for (what, count) in &passed.reached {
        println!("{count:>9} {what}");
    }
    let (simulated, wall) = (
        passed.virtual_nanos as f64 / 1e9,
        began.elapsed().as_secs_f64(),
    );
    println!(
        "{} commands applied, {} refused or unknown, {} tried again, {} reads",
        passed.applied, passed.refused, passed.retries, passed.reads
    );
    println!(
        "{} seeds, {simulated:.0} s simulated in {wall:.1} s, {:.0} times faster than real time, {failed} failed",
        passed.seeds,
        simulated / wall.max(1e-9)
    );
}
