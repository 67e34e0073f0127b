//! How replicas talk: TCP with one connection a direction, peer and class of messages, blocking reads, no async runtime.
//!
//! A [`Tcp`] endpoint dials every peer and only writes on what it dialed; what peers dialed is only read. So a reply
//! travels on the replier's own connection, and each connection has one reader and one order. Entries and pieces of
//! snapshots have connections of their own, so that on a slow link they never delay heartbeats and votes.
//!
//! - **Sending** never blocks: if nothing waits for the peer, the caller's thread tries a write that does not wait;
//!   what does not fit goes to the peer's writer thread, and later messages queue behind. The queue is bounded in
//!   bytes: at the bound *all* waiting appends of that peer are dropped and the peer is reported unreachable, for one
//!   lost from the middle of a pipeline costs more than all.
//! - **Receiving** happens on a thread a connection, and [`Handler::deliver`] runs on it.
//! - **A handshake** names both sides; strangers are refused with a reason that both sides report.
//! - **Nothing from outside** panics, or allocates beyond a limit (rule 11): see `FORMAT.md` for the bytes.
//!
//! Delivery promises nothing: messages may be lost, and overtake each other when a connection is replaced. Raft needs
//! no more.

#![forbid(unsafe_code)]

mod ask;
mod dial;
mod endpoint;
mod error;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hello;
mod inbound;
mod lane;
mod options;
mod peers;
mod reader;
mod shared;
mod wake;
mod writer;

pub use ask::ask;
pub use endpoint::{Listener, Tcp};
pub use error::{BindError, Reason, Refusal, Side};
pub use hello::{Hello, WIRE_VERSION};
pub use options::Options;
pub use shared::{Counts, Handler};
