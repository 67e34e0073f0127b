//! What is printed: tables, and how something came to be broken.

use little_raft_core::Plant;
use little_raft_model::{Action, Cluster, Search};

pub(crate) fn head() {
    println!("| setting | bounds | states | unique | depth | wall | reached |");
    println!("|---|---|---|---|---|---|---|");
}

pub(crate) fn row(cluster: &Cluster, found: &Search) {
    let (setting, bounds) = (cluster.setting.name(), cluster.bounds);
    let (states, unique, depth) = (found.states, found.unique, found.depth);
    let wall = found.wall.as_secs_f64();
    let reached = found.reached.join(", ");
    println!("| {setting} | {bounds} | {states} | {unique} | {depth} | {wall:.1} s | {reached} |");
    if let Some((invariant, path)) = &found.broken {
        println!("\n{invariant} does not hold:");
        print_path(path);
    } else if !found.is_whole {
        println!("\nnot finished in {wall:.0} s");
    }
}

pub(crate) fn missed(missed: &[&str]) {
    if !missed.is_empty() {
        println!("\nnever reached: {}", missed.join(", "));
    }
}

pub(crate) fn head_of_plants() {
    println!(
        "| plant | what is wrong | found by | setting and bounds | unique states | steps | wall |"
    );
    println!("|---|---|---|---|---|---|---|");
}

pub(crate) fn row_of_plant(plant: Plant, found: Option<&(Cluster, Search)>, with_path: bool) {
    let (name, bug) = (plant.name(), plant.bug());
    let Some((cluster, found)) = found else {
        println!("| {name} | {bug} | **not found** | | | | |");
        return;
    };
    let Some((invariant, path)) = &found.broken else {
        return;
    };
    let (setting, bounds, unique) = (cluster.setting.name(), cluster.bounds, found.unique);
    let (steps, wall) = (path.len() - 1, found.wall.as_secs_f64());
    println!(
        "| {name} | {bug} | {invariant} | {setting}: {bounds} | {unique} | {steps} | {wall:.1} s |"
    );
    if with_path {
        println!();
        print_path(path);
    }
}

fn print_path(path: &[Action]) {
    path.iter().for_each(|action| println!("  {action:?}"));
}
