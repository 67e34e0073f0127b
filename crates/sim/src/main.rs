//! Runs seeds until one fails, and says how to repeat it.

mod arguments;
mod print;
#[cfg(feature = "plants")]
mod search;
#[cfg(feature = "shrink")]
mod shrink;
#[cfg(feature = "shrink")]
mod shrunk;
mod whole_run;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use arguments::Arguments;
use print::Tally;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "shrink")]
    if arguments.shrink {
        return shrunk::print_shortest(&arguments);
    }
    #[cfg(feature = "plants")]
    if let Some(code) = search::search(&arguments) {
        return code;
    }
    if arguments.whole {
        return whole_run::run(&arguments);
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    arguments.batch().run(|report| {
        tally.add(report);
        print::report(report, &arguments);
        let has_failed = report.violation.is_some() && !arguments.go_on;
        match has_failed || arguments.is_over(began.elapsed()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    print::tally(&tally, began.elapsed(), &arguments);
    let is_uncovered = arguments.coverage && tally.coverage.first_missed().is_some();
    ExitCode::from(u8::from(!tally.failed.is_empty() || is_uncovered))
}
