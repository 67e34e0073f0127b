//! Seeds of whole replicas, as many at once as there are cores, under a state machine that counts.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use little_raft_sim::{Chance, Failed, Histogram, Passed, simulate};

use crate::arguments::Arguments;

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    // What panics is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start + arguments.seeds;
    let total: Mutex<(Passed, Vec<Failed>)> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..arguments.jobs() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let byte = |chance: &mut Chance<'_>| vec![chance.below(200) as u8];
                    let ended = simulate(Histogram::default, byte, seed..=seed);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    match ended {
                        Ok(passed) => total.0.add(passed),
                        Err(failed) => {
                            println!("{failed}");
                            total.1.push(failed);
                            if !arguments.go_on {
                                next.store(end, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    let (passed, failed) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&passed, failed.len(), began);
    ExitCode::from(u8::from(!failed.is_empty()))
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
