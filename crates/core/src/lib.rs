//! The Raft algorithm of [Little Raft](https://docs.rs/little-raft), and nothing else: inputs in, outputs out.
//!
//! This crate owns no thread, socket, disk or clock. The same inputs give the same outputs, byte for byte, on every
//! machine; so the code that runs in production is the code that a simulator runs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod codec;
mod config;
mod disk;
mod election;
mod following;
mod inspect;
mod interface;
mod loans;
mod log;
mod mail;
mod membership;
pub mod message;
mod plant;
mod progress;
mod proposals;
mod quorum;
mod raft;
mod random;
mod reads;
mod replication;
mod runs;
mod snapshot;
mod transfer;
mod types;
mod witness;

pub use codec::{Codec, DecodeError};
pub use config::{Config, ConfigError, Leases};
pub use interface::*;
pub use message::Message;
#[cfg(feature = "plants")]
pub use plant::Plant;
#[cfg(not(feature = "plants"))]
#[doc(hidden)]
pub use plant::never_planted;
pub use raft::Raft;
pub use runs::Runs;
pub use types::*;
