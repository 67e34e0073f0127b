//! Placeholder.
mod cluster;
mod machine;
pub use cluster::*;
pub use little_raft_core as core;
pub use machine::*;
