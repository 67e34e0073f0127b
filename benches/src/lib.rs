//! What the benchmarks share: figures with their spread, a report as text or JSON, and three processes that are one
//! group.

mod child;
mod figures;
mod group;
mod options;
mod report;

pub use child::{Pace, be_replica_if_asked};
pub use figures::{Spread, median};
pub use group::{Group, Member, Standing};
pub use options::Options;
pub use report::{Bound, Report};
