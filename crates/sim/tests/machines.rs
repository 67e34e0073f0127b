//! State machines that are wrong, each in its own way, and their mended twin.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::Instant;

use little_raft::{Entry, StateMachine};
use little_raft_sim::{Chance, Histogram, simulate};

/// What may be wrong with a machine.
#[derive(Clone, Copy, Default, PartialEq)]
enum Wrong {
    /// Its answers depend on the order of a hash map.
    #[default]
    Order,
    /// Its answers depend on a clock.
    Clock,
    /// Its snapshots leave out what is counted only once.
    Snapshot,
}

/// A [`Histogram`] by somebody who did not read what a state machine must not do.
struct Bad(HashMap<u8, u64>, Wrong);

impl StateMachine for Bad {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) -> u64 {
        *self.0.entry(entry.command[0]).or_default() += 1;
        match self.1 {
            Wrong::Order => self.0.values().next().copied().unwrap_or_default(),
            Wrong::Clock => Instant::now().elapsed().as_nanos() as u64,
            Wrong::Snapshot => self.0[&entry.command[0]],
        }
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        let least = u64::from(self.1 == Wrong::Snapshot) + 1;
        let pairs = self.0.iter().filter(|(_, count)| **count >= least);
        Ok(pairs
            .flat_map(|(value, count)| [*value].into_iter().chain(count.to_le_bytes()))
            .collect())
    }
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut good = Histogram::default();
        good.restore(snapshot)?;
        self.0 = good.0.into_iter().collect();
        Ok(())
    }
}

fn bytes(chance: &mut Chance<'_>) -> Vec<u8> {
    vec![chance.below(200) as u8]
}

#[test]
fn a_good_machine_passes() {
    let passed = simulate(Histogram::default, bytes, 1..=20).expect("nothing is wrong");
    assert!(passed.applied > 1_000, "{passed:?}");
    assert!(passed.retries > 100, "{passed:?}");
    for met in [
        "a witness dropped what was settled",
        "a candidate was supplied by a witness",
    ] {
        assert!(passed.reached.contains_key(met), "{met}: {passed:?}");
    }
}

#[test]
fn each_wrong_machine_is_found_and_told_apart() {
    for (wrong, text) in [
        (Wrong::Order, "not deterministic"),
        (Wrong::Clock, "not deterministic"),
        (Wrong::Snapshot, "a snapshot forgets"),
    ] {
        let failed = simulate(|| Bad(HashMap::new(), wrong), bytes, 1..=200);
        let failed = failed.expect_err("it is wrong");
        assert!(failed.to_string().contains(text), "{failed}");
    }
}

/// The same seed is the same run, to the last count.
#[test]
fn a_seed_gives_one_run() {
    let run = || simulate(Histogram::default, bytes, 5..=8);
    assert_eq!(run(), run());
}
