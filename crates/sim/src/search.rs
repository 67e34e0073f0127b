//! The search for planted bugs, and the table of what found them.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use little_raft_sim::{Plant, in_order};

use crate::arguments::Arguments;
use crate::whole_run::one;

/// How the search for one plant ended.
struct Search {
    plant: Plant,
    /// The invariant, and what was seen.
    found: Option<(&'static str, String)>,
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
    let mut search = Search {
        plant,
        found: None,
        seeds: 0,
        simulated: Duration::ZERO,
        wall: Duration::ZERO,
    };
    let began = Instant::now();
    match needs_whole_replicas(plant) || arguments.whole {
        true => search.in_whole_replicas(arguments),
        false => search.in_the_core(arguments),
    }
    search.wall = began.elapsed();
    search
}

/// Bugs of the driver, the log's files and state machines: of all that is not in the core.
fn needs_whole_replicas(plant: Plant) -> bool {
    use Plant::{P39, P43, P44, P46, P47, P49, P50, P55, P56};
    [P39, P43, P44, P46, P47, P49, P50, P55, P56].contains(&plant)
}

impl Search {
    fn in_the_core(&mut self, arguments: &Arguments) {
        let mut batch = arguments.batch();
        batch.options.plant = Some(self.plant);
        batch.run(|report| {
            let violation = report.violation.clone();
            let found = violation.map(|it| (it.invariant, it.to_string()));
            self.add(report.virtual_nanos, found)
        });
    }

    fn in_whole_replicas(&mut self, arguments: &Arguments) {
        let plant = self.plant;
        let run = |seed| {
            Plant::plant(Some(plant));
            one(seed)
        };
        in_order(
            arguments.range(),
            arguments.jobs(),
            run,
            |ended| match ended {
                Ok(passed) => self.add(passed.virtual_nanos, None),
                Err(failed) => self.add(
                    failed.virtual_nanos,
                    Some((failed.invariant, failed.to_string())),
                ),
            },
        );
    }

    fn add(&mut self, nanos: u64, found: Option<(&'static str, String)>) -> ControlFlow<()> {
        self.seeds += 1;
        self.simulated += Duration::from_nanos(nanos);
        self.found = found;
        match self.found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

fn row(search: &Search, arguments: &Arguments) -> String {
    let found = match &search.found {
        Some((_, what)) if arguments.plant.len() == 1 => what.as_str(),
        Some((invariant, _)) => invariant,
        None => "**not found**",
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
