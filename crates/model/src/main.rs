//! Explores, and says what there was.

mod arguments;
mod print;

use std::process::ExitCode;

use clap::Parser;
use little_raft_core::Plant;
use little_raft_model::{Cluster, Search, must_be_reached, search};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of the core is an invariant that does not hold, and is told as such.
    std::panic::set_hook(Box::new(|_| {}));
    let plants = match arguments.plants {
        true => Plant::ALL,
        false => &arguments.plant,
    };
    let is_well = match plants.is_empty() {
        true => explore(&arguments),
        false => hunt(plants, &arguments),
    };
    ExitCode::from(u8::from(!is_well))
}

/// Every setting: all must hold, and whatever matters be reached.
fn explore(arguments: &Arguments) -> bool {
    print::head();
    let (mut is_well, mut missed) = (true, must_be_reached());
    for cluster in arguments.clusters() {
        let found = run(&cluster, arguments);
        print::row(&cluster, &found);
        is_well &= found.is_whole;
        missed.retain(|it| !found.reached.contains(it));
    }
    print::missed(&missed);
    is_well && (missed.is_empty() || !arguments.coverage)
}

/// Each plant, in one setting after another until it is found.
fn hunt(plants: &[Plant], arguments: &Arguments) -> bool {
    print::head_of_plants();
    let mut is_well = true;
    for &plant in plants {
        let mut hunts = arguments.clusters().into_iter().map(|cluster| {
            let cluster = Cluster {
                plant: Some(plant),
                ..cluster
            };
            let found = run(&cluster, arguments);
            (cluster, found)
        });
        let found = hunts.find(|(_, found)| found.broken.is_some());
        is_well &= found.is_some();
        print::row_of_plant(plant, found.as_ref(), plants.len() == 1);
    }
    is_well
}

fn run(cluster: &Cluster, arguments: &Arguments) -> Search {
    search(cluster.clone(), arguments.threads(), arguments.limit())
}
