//! Scripts made of planted bugs fail with the bug, and only with it.

use little_raft_sim::{Options, Plant, run};

use super::{fails, shrink};

/// The script that the first seed with this bug makes that can be told as one.
fn script_of(plant: Plant) -> Vec<String> {
    let options = Options {
        record: true,
        plant: Some(plant),
        ..Options::default()
    };
    let records = (1..=30).map(|seed| run(seed, &options));
    let failed = records.filter(|report| report.violation.is_some());
    let mut scripts = failed.filter_map(|report| shrink(&report.record?));
    scripts
        .next()
        .expect("a seed that fails as a script")
        .script
}

#[test]
fn a_shrunk_script_is_short_and_fails_with_its_bug_alone() {
    for plant in [Plant::P01, Plant::P12, Plant::P24, Plant::P65] {
        let script = script_of(plant);
        let name = plant.name();
        assert!(script.len() <= 40, "{name}: {} lines", script.len());
        Plant::plant(Some(plant));
        assert!(fails(&script), "{name} is not needed for {script:?}");
        Plant::plant(None);
        assert!(!fails(&script), "{script:?} fails without {name}");
    }
}

#[test]
fn what_holds_makes_no_script() {
    let options = Options {
        record: true,
        ..Options::default()
    };
    let report = run(1, &options);
    assert_eq!(report.violation, None);
    let mut record = report.record.expect("it was to be recorded");
    record.happened.truncate(2_000);
    assert_eq!(shrink(&record), None);
}
