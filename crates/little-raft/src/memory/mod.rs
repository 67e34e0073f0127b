//! Parts that live in memory, for tests and for embedding several replicas in one process.

mod cluster;
mod storage;

pub use cluster::{MemoryCluster, MemoryLink};
pub use storage::MemoryStorage;
