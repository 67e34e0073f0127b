//! A planted bug is found, and only where it is planted.
#![cfg(feature = "plants")]

use little_raft_sim::{Chance, Histogram, Options, Plant, run, simulate};

#[test]
fn a_planted_bug_is_found() {
    let plant = Some(Plant::P23);
    let planted = Options {
        plant,
        ..Options::default()
    };
    let found = (1..=10).find_map(|seed| run(seed, &planted).violation);
    assert_eq!(found.map(|it| it.invariant), Some("durability"));
    assert_eq!(run(1, &Options::default()).violation, None);
}

/// One of the driver's, which the core alone can't have.
#[test]
fn whole_replicas_find_a_planted_bug() {
    let bytes = |chance: &mut Chance<'_>| vec![chance.below(200) as u8];
    Plant::plant(Some(Plant::P44));
    let found = simulate(Histogram::default, bytes, 1..=10);
    Plant::plant(None);
    let invariant = found.map_err(|failed| failed.invariant).unwrap_err();
    assert_eq!(invariant, "snapshots are whole");
    simulate(Histogram::default, bytes, 1..=3).expect("nothing is planted");
}

#[test]
fn plants_are_called_by_their_names() {
    for plant in Plant::ALL {
        assert_eq!(Plant::named(plant.name()), Some(*plant));
    }
}
