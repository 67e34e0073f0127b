//! Plays every script in `scenarios/` against a few replicas and compares what they do, line by line.
//!
//! A script is a list of steps: commands, a line `----`, and all that the replicas then decide. The commands are
//! described in `harness/command.rs`, and what must hold in every script in `harness/checks.rs`.
//! `UPDATE_SCENARIOS=1 cargo test -p little-raft-core --test scenarios` writes what happens into the scripts;
//! `SCENARIO=name` plays only those whose name contains it.

mod harness;

use std::path::Path;

#[test]
fn every_script_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|file| file.expect("a file in it").path())
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no script is called {wanted:?}");
    let failures: Vec<String> = scripts
        .iter()
        .filter_map(|path| harness::play(path))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
