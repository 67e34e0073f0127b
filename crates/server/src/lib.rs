//! A key-value, config and service-discovery server on Little Raft that etcd clients use unchanged.
//!
//! A library with a thin program on it: [`store`] is the replicated state machine, [`api`] answers clients, [`engine`]
//! is the replica between them. [`demo`] shows what they can do.

pub mod announce;
pub mod api;
pub mod backup;
pub mod bump;
pub mod cli;
pub mod client;
pub mod config;
pub mod data_dir;
pub mod demo;
pub mod engine;
pub mod founders;
pub mod proto;
pub mod recover;
pub mod serve;
pub mod store;
