//! The Raft algorithm of [Little Raft](https://docs.rs/little-raft), and nothing else: inputs in, outputs out.
//!
//! This crate owns no thread, socket, disk or clock. The same inputs give the same outputs, byte for byte, on every
//! machine; so the code that runs in production is the code that a simulator runs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod codec;
mod interface;
pub mod message;
mod types;

pub use codec::{Codec, DecodeError};
pub use interface::*;
pub use message::Message;
pub use types::*;
