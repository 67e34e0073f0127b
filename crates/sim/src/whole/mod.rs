//! Whole replicas in one thread: the production driver, its log in files, snapshots and sessions, under a state machine
//! of your own.
//!
//! Other than [`run`](crate::run), which steps the algorithm alone and looks at its inside after every step, this looks
//! from outside, as clients and state machines do: every replica applies the same commands with the same answers,
//! everything that was answered stays, reads are fresh, each operation ends, and all catch up once all is mended.

mod clients;
mod disk;
mod dropped;
mod either;
mod histogram;
mod kept;
mod ledger;
mod lost;
mod mischief;
mod patient;
mod probe;
mod promised;
mod replica;
mod settled;
mod trouble;
mod world;

use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use little_raft::StateMachine;

pub use self::disk::SimDisk;
pub use self::histogram::Histogram;
use self::trouble::{Trouble, Troubles};
use self::world::World;
use crate::checks::Violation;
use crate::random::Random;
use crate::weather::SECOND;

/// Where a workload takes its chance from: the same in every run of a seed.
pub struct Chance<'a>(&'a mut Random);

impl Chance<'_> {
    /// A number below `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}

/// What many runs came to, none of which violated anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// How many runs.
    pub seeds: u64,
    /// Simulated time in all, in nanoseconds.
    pub virtual_nanos: u64,
    /// Commands that were applied and answered.
    pub applied: u64,
    /// Commands that were certainly not applied, and those whose outcome was unknown.
    pub refused: u64,
    /// Linearizable reads.
    pub reads: u64,
    /// Commands that were tried again under a session.
    pub retries: u64,
    /// How often each kind of trouble was met.
    pub reached: std::collections::BTreeMap<&'static str, u64>,
}

/// A run that went wrong, made as short as could be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// Which invariant: its name in one or two words.
    pub invariant: &'static str,
    /// Simulated time until it did, in nanoseconds.
    pub virtual_nanos: u64,
    /// What must not be, and what happened last before it.
    pub what: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}: {}", self.seed, self.invariant, self.what)
    }
}

impl std::error::Error for Failed {}

/// How long a run is rough.
const ROUGH_NANOS: u64 = 12 * SECOND;

/// Runs a group of your state machine through a run for each of `seeds`: replicas crash and lose what was not flushed,
/// messages are lost, links are cut, disks fill and fail, members and leaders change. `make` makes a machine in its
/// first state; `workload` makes commands.
///
/// Found are machines that are not deterministic (they look at a clock, or iterate over a hash map), snapshots that
/// forget something, and whatever the library itself does wrong. A machine with a [`digest`] is looked into after
/// every command; without one, only its answers tell.
///
/// [`digest`]: StateMachine::digest
///
/// # Errors
/// The first run that goes wrong, with its troubles and its time cut down as far as it still does.
///
/// ```
/// # use std::io::{self, Read};
/// # use little_raft::{Entry, StateMachine};
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Response = u64;
///     type Snapshot = Vec<u8>;
///     fn apply(&mut self, entry: Entry<'_>) -> u64 {
///         self.0 += u64::from(entry.command[0]);
///         self.0
///     }
///     fn snapshot(&self) -> io::Result<Vec<u8>> {
///         Ok(self.0.to_le_bytes().to_vec())
///     }
///     fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
///         let mut bytes = [0; 8];
///         snapshot.read_exact(&mut bytes)?;
///         self.0 = u64::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
///
/// let add = |chance: &mut little_raft_sim::Chance<'_>| vec![chance.below(10) as u8];
/// little_raft_sim::simulate(Counter::default, add, 1..=3).expect("it is a good machine");
/// ```
pub fn simulate<M: StateMachine<Response: Debug>>(
    make: impl Fn() -> M,
    workload: impl FnMut(&mut Chance<'_>) -> Vec<u8>,
    seeds: RangeInclusive<u64>,
) -> Result<Passed, Failed> {
    simulate_durable(|_| Ok(make()), workload, seeds)
}

/// The same for a machine with durable storage of its own: `make` opens it on its replica's disk, at each start, under
/// a path that begins with `machine/`. What it stores there meets power cuts and failures as the log does.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_durable<M: StateMachine<Response: Debug>>(
    make: impl Fn(&SimDisk) -> io::Result<M>,
    mut workload: impl FnMut(&mut Chance<'_>) -> Vec<u8>,
    seeds: RangeInclusive<u64>,
) -> Result<Passed, Failed> {
    let mut passed = Passed::default();
    let mut workload = |random: &mut Random| workload(&mut Chance(random));
    for seed in seeds {
        let troubles = Troubles::some(&mut Random::new(!seed));
        let trial = Trial {
            seed,
            troubles,
            nanos: ROUGH_NANOS,
        };
        match trial.run(&make, &mut workload) {
            Ok(one) => passed.add(&one),
            Err(violation) => return Err(trial.shrunk(violation, &make, &mut workload)),
        }
    }
    Ok(passed)
}

/// One run's terms.
#[derive(Clone)]
struct Trial {
    seed: u64,
    troubles: Troubles,
    nanos: u64,
}

/// What went wrong in a run, and when.
struct Wrong {
    violation: Violation,
    nanos: u64,
}

impl Trial {
    fn run<M: StateMachine<Response: Debug>>(
        &self,
        make: &dyn Fn(&SimDisk) -> io::Result<M>,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> Result<Passed, Wrong> {
        let mut world = World::new(self.seed, self.troubles.clone(), make, workload);
        let ended = catch_unwind(AssertUnwindSafe(|| world.run(self.nanos)));
        let ended = ended.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            Err(world.told(Violation {
                invariant: "no panic",
                what: text.unwrap_or_default(),
            }))
        });
        let (nanos, counts) = (world.now(), world.clients().counts);
        match ended {
            Ok(()) => Ok(Passed {
                seeds: 1,
                virtual_nanos: nanos,
                applied: counts.applied,
                refused: counts.not_applied + counts.unknown,
                reads: counts.reads,
                retries: counts.retries,
                reached: std::mem::take(&mut world.reached),
            }),
            Err(violation) => Err(Wrong { violation, nanos }),
        }
    }

    /// The same with fewer kinds of trouble and in less time, as long as the same goes wrong.
    fn shrunk<M: StateMachine<Response: Debug>>(
        mut self,
        mut wrong: Wrong,
        make: &dyn Fn(&SimDisk) -> io::Result<M>,
        workload: &mut dyn FnMut(&mut Random) -> Vec<u8>,
    ) -> Failed {
        let virtual_nanos = wrong.nanos;
        let mut attempts: Vec<Box<dyn Fn(&mut Self)>> = Vec::new();
        for kind in Trouble::ALL {
            attempts.push(Box::new(move |trial| {
                trial.troubles.0.retain(|known| *known != kind);
            }));
        }
        for _ in 0..6 {
            attempts.push(Box::new(|trial| trial.nanos = trial.nanos * 2 / 3));
        }
        for change in attempts {
            let mut shorter = self.clone();
            change(&mut shorter);
            if let Err(still) = shorter.run(make, workload)
                && still.violation.invariant == wrong.violation.invariant
            {
                (self, wrong) = (shorter, still);
            }
        }
        let Violation { invariant, what } = wrong.violation;
        let (troubles, nanos) = (self.troubles.0, self.nanos);
        Failed {
            seed: self.seed,
            invariant,
            virtual_nanos,
            what: format!("{what}\nwith {troubles:?}, within {nanos} ns"),
        }
    }
}

impl Passed {
    /// The sum of both.
    pub fn add(&mut self, one: &Self) {
        self.seeds += one.seeds;
        self.virtual_nanos += one.virtual_nanos;
        self.applied += one.applied;
        self.refused += one.refused;
        self.reads += one.reads;
        self.retries += one.retries;
        for (what, count) in &one.reached {
            *self.reached.entry(what).or_default() += count;
        }
    }
}
