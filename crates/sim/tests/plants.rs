//! A planted bug is found, and only where it is planted.
#![cfg(feature = "plants")]

use little_raft_sim::{Options, Plant, run};

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

#[test]
fn plants_are_called_by_their_names() {
    for plant in Plant::ALL {
        assert_eq!(Plant::named(plant.name()), Some(*plant));
    }
}
