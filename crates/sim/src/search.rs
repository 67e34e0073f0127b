//! The search for planted bugs, and the table of what found them.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use little_raft_sim::{Plant, Violation};

use crate::arguments::Arguments;

/// How the search for one plant ended.
struct Search {
    plant: Plant,
    found: Option<Violation>,
    seeds: u64,
    simulated: Duration,
    wall: Duration,
}

/// Searches what the command line names, if it names any.
pub(crate) fn search(arguments: &Arguments) -> Option<ExitCode> {
    let plants = match arguments.plants {
        true => Plant::ALL,
        false => &arguments.plant,
    };
    if plants.is_empty() {
        return None;
    }
    if !arguments.trace {
        // What fails here is meant to.
        std::panic::set_hook(Box::new(|_| {}));
    }
    println!("| plant | what is wrong | found by | seeds | simulated | wall |");
    println!("|---|---|---|---|---|---|");
    let mut is_missed = false;
    for &plant in plants {
        let search = search_for(plant, arguments);
        println!("{}", row(&search, arguments));
        is_missed |= search.found.is_none();
    }
    Some(ExitCode::from(u8::from(is_missed)))
}

fn search_for(plant: Plant, arguments: &Arguments) -> Search {
    let mut batch = arguments.batch();
    batch.options.plant = Some(plant);
    let began = Instant::now();
    let (mut seeds, mut nanos, mut found) = (0, 0, None);
    batch.run(|report| {
        seeds += 1;
        nanos += report.virtual_nanos;
        found = report.violation.clone();
        match found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    Search {
        plant,
        found,
        seeds,
        simulated: Duration::from_nanos(nanos),
        wall: began.elapsed(),
    }
}

fn row(search: &Search, arguments: &Arguments) -> String {
    let found = match &search.found {
        Some(violation) if arguments.plant.len() == 1 => violation.to_string(),
        Some(violation) => violation.invariant.to_string(),
        None => "**not found**".into(),
    };
    format!(
        "| {} | {} | {found} | {} | {:.0} s | {:.1} s |",
        search.plant.name(),
        search.plant.bug(),
        search.seeds,
        search.simulated.as_secs_f64(),
        search.wall.as_secs_f64()
    )
}
