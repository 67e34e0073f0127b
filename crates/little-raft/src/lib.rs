//! Replicate a state machine with Raft: small enough to read, right under every fault, close to the machine's limit.
//!
//! Bring a [`StateMachine`], start a [`Replica`] of it in each of three processes, and propose commands to any of
//! them:
//!
//! ```no_run
//! use std::io::{self, Read};
//!
//! use little_raft::{Entry, Replica, StateMachine};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Response = u64;
//!     type Snapshot = Vec<u8>;
//!
//!     fn apply(&mut self, entry: Entry<'_>) -> u64 {
//!         self.0 += entry.command.len() as u64;
//!         self.0
//!     }
//!     fn snapshot(&self) -> io::Result<Vec<u8>> {
//!         Ok(self.0.to_le_bytes().to_vec())
//!     }
//!     fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
//!         let mut bytes = [0; 8];
//!         snapshot.read_exact(&mut bytes)?;
//!         self.0 = u64::from_le_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let replica = Replica::builder(1)
//!     .members([(1, "10.0.0.1:7001"), (2, "10.0.0.2:7001"), (3, "10.0.0.3:7001")])
//!     .start(Counter::default())?;
//! let total = replica.propose("+1").wait()?; // or .await
//! let value = replica.read(|counter| counter.0).wait()?; // linearizable, on any replica
//! # let _ = (total, value);
//! # Ok(())
//! # }
//! ```
//!
//! An acknowledged command is flushed to disk on a majority of the replicas. A [`Cluster`] carries messages (TCP is
//! built in) and a [`Storage`] remembers (a write-ahead log is built in); both are small traits.
//!
//! No async runtime is needed, and none is in the way: every operation gives a [`Pending`], a future for any executor
//! and something to [`wait`](Pending::wait) for on a thread.

mod builder;
mod cluster;
mod combine;
#[doc(hidden)]
pub mod driver;
mod error;
mod machine;
mod members;
mod memory;
mod pending;
#[cfg(feature = "wal")]
mod recover;
mod replica;
#[cfg(feature = "wal")]
mod restore;
mod session;
mod shell;
mod status;
mod storage;
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
}
#[cfg(feature = "net")]
mod tcp;
mod timer;
mod turns;
#[cfg(feature = "wal")]
mod wal;
mod witness;
mod worker;

pub use bytes::Bytes;
pub use little_raft_core as core;
pub use little_raft_core::{
    Base, ChangeError, Conditions, ConfigError, Leases, Member, Membership, Message, Position,
    ReplicaId, Role, State, Timing, Write,
};

pub use builder::{Builder, cluster_id};
pub use cluster::{Cluster, Inbox};
#[cfg(feature = "wal")]
pub use error::RecoverError;
pub use error::{
    MembersError, ProposeError, ReadError, StartError, StopReason, StorageError, TransferError,
};
pub use machine::{Entry, LibraryState, ResponseCodec, Snapshot, StateMachine};
pub use members::MemberChange;
pub use memory::{MemoryCluster, MemoryLink, MemoryStorage};
pub use pending::{Abandoned, Answer, Pending};
#[cfg(feature = "wal")]
pub use recover::{Recovered, Recovery, Survivor, inspect_group, recover_group};
pub use replica::{Command, ProposeOptions, Replica, Stale};
#[cfg(feature = "wal")]
pub use restore::{Restoration, restore_group};
pub use session::{Once, Session};
pub use status::{Status, StatusWatch, WatchEnded};
pub use storage::{
    Arriving, Founding, LogReader, Opened, SnapshotFiles, SnapshotSink, SnapshotStream, Space,
    Storage,
};
#[cfg(feature = "net")]
pub use tcp::{TcpCluster, who_listens};
#[cfg(feature = "wal")]
pub use wal::WalStorage;
pub use witness::Witness;
