//! Garbage for every decoder that takes bytes from outside: nothing may panic, or allocate more than its input deserves.
//!
//! Inputs are valid encodings with damage in them, checksums made right again or not. `docs/testing.md` says more.

#![forbid(unsafe_code)]

mod memory;
mod mutate;
mod requests;
mod targets;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use arbtest::arbtest;
use clap::Parser;

use targets::{ALL, Target};

const ENTROPY_BYTES_MIN: u32 = 64;
const ENTROPY_BYTES_MAX: u32 = 8 << 10;

/// Fuzzes decoders; a failure prints the seed that repeats it.
#[derive(Parser)]
struct Args {
    /// Which [default: all, one after the other].
    targets: Vec<String>,
    /// How long each.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs one target with the seed of a failure, such as 0xa88e234400000020, and then looks for a smaller one.
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    /// Prints the targets' names.
    #[arg(long)]
    list: bool,
}

fn seed(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        ALL.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    let known = |name: &String| ALL.iter().any(|target| target.name == name);
    if let Some(unknown) = args.targets.iter().find(|name| !known(name)) {
        eprintln!("there is no target {unknown:?}; --list names them");
        return ExitCode::from(2);
    }
    let wanted = |target: &&Target| {
        args.targets.is_empty() || args.targets.iter().any(|name| name == target.name)
    };
    let time = Duration::from_secs(args.seconds);
    let mut holds = true;
    for target in ALL.iter().filter(wanted) {
        match args.seed {
            Some(seed) => holds &= repeat(target, time, seed),
            None => fuzz(target, time),
        }
    }
    ExitCode::from(u8::from(!holds))
}

fn fuzz(target: &Target, time: Duration) {
    let mut inputs = 0_u64;
    let counted = |u: &mut arbtest::arbitrary::Unstructured<'_>| {
        inputs += 1;
        (target.run)(u)
    };
    arbtest(counted)
        .budget(time)
        .size_min(ENTROPY_BYTES_MIN)
        .size_max(ENTROPY_BYTES_MAX)
        .run();
    println!(
        "{}: {inputs} inputs in {time:?}, and nothing broke",
        target.name
    );
}

/// Shows the failure of this seed, then spends `time` on looking for a smaller one. Whether it holds.
fn repeat(target: &Target, time: Duration, seed: u64) -> bool {
    let once = || arbtest(target.run).seed(seed).run();
    let holds = catch_unwind(AssertUnwindSafe(once)).is_ok();
    if holds {
        println!("{}: nothing broke with this seed", target.name);
    } else {
        let test = arbtest(target.run).seed(seed).budget(time);
        test.minimize().run();
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_bears_a_moment() {
        for target in ALL {
            fuzz(target, Duration::from_millis(200));
        }
    }
}
