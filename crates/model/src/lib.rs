//! Every order of events within small bounds, for the very `Raft` that is shipped.
//!
//! The crate `stateright` walks through all states that three replicas can reach. What happens is an [`Action`]; how
//! often it may happen is in the [`Bounds`]; what must hold, in [`Broken`].

mod action;
mod bounds;
mod disk;
mod known;
mod letter;
mod machine;
mod model;
mod properties;
mod quorum;
mod reads;
mod replica;
mod search;
mod state;

pub use action::Action;
pub use bounds::{Bounds, Setting};
pub use known::Broken;
pub use model::Cluster;
pub use properties::must_be_reached;
pub use search::{Search, search};
pub use state::State;
