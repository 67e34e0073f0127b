//! A key-value, config and service-discovery server on Little Raft that etcd clients use unchanged.

pub mod proto;
pub mod store;
