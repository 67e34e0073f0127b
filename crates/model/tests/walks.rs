//! Small walks: what is right holds and is reached, and planted bugs are found.

use std::time::Duration;

use little_raft_core::Plant;
use little_raft_model::{Bounds, Cluster, Search, Setting, search};

/// The walk through these bounds of a setting, with or without a bug.
fn walk(setting: Setting, number: usize, plant: Option<Plant>) -> Search {
    let cluster = Cluster {
        setting,
        bounds: setting.small()[number],
        plant,
    };
    search(cluster, 1, Duration::from_secs(300))
}

#[test]
fn a_walk_holds_is_whole_and_always_the_same() {
    let one = walk(Setting::Members, 0, None);
    let other = walk(Setting::Members, 0, None);
    assert_eq!(one.broken, None);
    assert!(one.is_whole);
    assert_eq!((one.states, one.unique), (other.states, other.unique));
    assert!(one.reached.contains(&"a change of members is complete"));
}

#[test]
fn what_was_not_flushed_is_lost_in_a_crash() {
    let found = walk(Setting::Replication, 2, None);
    assert!(found.broken.is_none() && found.is_whole);
    assert!(found.reached.contains(&"a command is committed"));
}

/// A lease is safe while clocks differ by no more than is stated, and the model does have clocks that differ.
#[test]
fn a_clock_that_loses_more_than_the_stated_drift_makes_a_lease_answer_too_late() {
    let walk = |slips| {
        let cluster = Cluster {
            setting: Setting::Leases,
            bounds: Bounds {
                slips,
                ..Setting::Leases.small()[0]
            },
            plant: None,
        };
        search(cluster, 1, Duration::from_secs(300))
    };
    let stated = walk(1);
    assert!(stated.broken.is_none() && stated.is_whole);
    assert!(stated.reached.contains(&"a lease answers a read"));
    let broken = walk(4).broken.map(|(invariant, _)| invariant);
    assert_eq!(broken, Some("freshness of reads"));
}

#[test]
fn planted_bugs_are_found_by_what_they_break() {
    let wanted = [
        (Setting::Members, 0, Plant::P23, "durability"),
        (Setting::Members, 0, Plant::P24, "durability"),
        (Setting::Members, 0, Plant::P25, "durability"),
        (Setting::Members, 0, Plant::P30, "durability"),
        (Setting::Members, 0, Plant::P33, "durability"),
        (Setting::Members, 0, Plant::P34, "durability"),
        (Setting::Replication, 3, Plant::P15, "durability"),
        (Setting::Members, 2, Plant::P32, "snapshots"),
        (Setting::Snapshots, 2, Plant::P42, "durability"),
    ];
    for (setting, number, plant, invariant) in wanted {
        let found = walk(setting, number, Some(plant)).broken;
        let found = found.map(|(invariant, _)| invariant);
        assert_eq!(found, Some(invariant), "{}", plant.name());
    }
}
