//! A whole cluster of Little Raft in one thread: simulated time, network, disks and clients.
//!
//! One seed gives one run, byte for byte. While faults rain down, checkers that share no code with the library look
//! at every step; then part of the cluster is mended and must work again, and at last all of it.
//!
//! ```
//! let report = little_raft_sim::run(7, &little_raft_sim::Options::default());
//! assert!(report.violation.is_none(), "{report:?}");
//! ```

mod batch;
mod checks;
mod coverage;
mod disk;
mod faults;
mod journal;
mod machine;
mod mix;
mod network;
mod node;
mod observer;
mod random;
mod receiving;
mod record;
mod run;
mod weather;
mod whole;
mod world;

pub use batch::{Batch, in_order};
pub use checks::Violation;
pub use coverage::Coverage;
#[cfg(feature = "plants")]
pub use little_raft_core::Plant;
pub use mix::Faults;
pub use record::{Happened, Link, Name, Names, Record};
pub use run::{Options, Report, run};
pub use whole::{Chance, Failed, Histogram, Passed, SimDisk, simulate, simulate_durable};
