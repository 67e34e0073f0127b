//! How a replica of [Little Raft](https://docs.rs/little-raft) remembers: a segmented, checksummed, preallocated log
//! made for one access pattern (append, flush, supersede the tail, drop the head, read a range), and snapshots beside it.
//!
//! [`Wal::append`] makes writes durable with one write and one flush; [`Reader`] reads durable entries meanwhile; and
//! [`Wal::open`] tells what a crash left unfinished from what the disk has lost. The bytes are described in `FORMAT.md`.

mod directory;
mod disk;
mod error;
mod group;
mod identity;
mod manifest;
mod plan;
mod reader;
mod real;
mod record;
mod recovery;
mod sealed;
mod segment;
mod snapshot;
mod survivor;
mod upkeep;
mod wal;

#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskFile, DiskLock};
pub use error::{AppendError, Damage, OpenError, ReadError};
pub use identity::{Founding, fresh_incarnation};
pub use reader::Reader;
pub use real::RealDisk;
pub use recovery::Torn;
pub use snapshot::{Newest, SnapshotError, SnapshotReader, SnapshotStore, SnapshotWriter};
pub use survivor::{Rewrite, Survivor};
pub use upkeep::Upkeeper;
pub use wal::{Appended, Options, Recovered, Wal};

/// The version of every file's layout. A file of a newer one is refused with a clear text.
pub(crate) const FORMAT_VERSION: u32 = 1;
