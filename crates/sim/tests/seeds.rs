//! A few seeds hold, and a seed repeats itself.

use little_raft_sim::{Options, run};

#[test]
fn ten_seeds_hold() {
    for seed in 1..=10 {
        let report = run(seed, &Options::default());
        assert_eq!(report.violation, None, "{report:?}");
        assert!(report.committed > 0, "{report:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [3, 11] {
        let options = Options::default();
        assert_eq!(run(seed, &options), run(seed, &options));
    }
}

#[test]
fn another_seed_gives_another_run() {
    let options = Options::default();
    assert_ne!(run(1, &options).hash, run(2, &options).hash);
}
