//! How a replica remembers: the traits, for a log and its snapshots.

use std::io::{self, Read, Seek, Write as _};
use std::sync::Arc;

use little_raft_core::{Base, Entry, Identity, Member, Position, ReplicaId, Restored, Write};

use crate::error::StorageError;

/// How a replica remembers. A write-ahead log in files is built in, and [`MemoryStorage`](crate::MemoryStorage) for
/// tests; implement this for anything else.
///
/// One thread uses it at a time: the log writer. Others read through [`reader`](Self::reader) and keep snapshots
/// through [`snapshots`](Self::snapshots), while the log writer goes on.
pub trait Storage: Send + 'static {
    /// Called once, before anything else: finds or makes what is remembered, and counts the start ([`Identity::boot`]
    /// durably rises by one).
    ///
    /// # Errors
    /// When what is there is damaged, in use, or belongs to another cluster or replica than `founding` says.
    fn open(&mut self, founding: &Founding) -> Result<Opened, StorageError>;

    /// Whom it belongs to, if it was opened before; may be asked before [`open`](Self::open). Needed only by a replica
    /// that joins a group: at its first start it asks the group's members instead.
    ///
    /// # Errors
    /// When it can't be read.
    fn identity(&self) -> Result<Option<Identity>, StorageError> {
        Ok(None)
    }

    /// Makes these writes durable, in this order, and returns after that (rule 1). With nothing to write, it only
    /// looks whether there is room again.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] if nothing of it was written and trying again later may succeed. Any other error
    /// stops the replica (rule 2).
    fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError>;

    /// Called when nothing was appended for a while, with time to spare.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn idle(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Reads the log while others append to it.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Keeps the snapshots.
    fn snapshots(&self) -> Arc<dyn SnapshotFiles>;

    /// Whether `append` never waits for anything (memory), so that no thread is needed for it.
    fn is_immediate(&self) -> bool {
        false
    }
}

/// Whom a storage is opened for; recorded when it is new, compared when it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The cluster: see [`cluster_id`](crate::cluster_id).
    pub cluster: u64,
    /// The replica.
    pub replica: ReplicaId,
    /// The identity of a new data directory, drawn at random; an old one keeps its own.
    pub incarnation: u64,
    /// The members the group begins with.
    pub founders: Vec<Member>,
}

/// What a storage remembers when it is opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Who it is, with `boot` already counted up.
    pub identity: Identity,
    /// The log.
    pub restored: Restored,
    /// The snapshots it holds, oldest first: only such as are whole and undamaged.
    pub snapshots: Vec<Base>,
}

/// How much room there is after an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The room runs out: take no new proposals. What was appended is durable all the same.
    pub low: bool,
}

/// Reads entries of a log that grows meanwhile.
pub trait LogReader: Send + Sync + 'static {
    /// The entries from `first` to `last`, or fewer from `first` on once they exceed `bytes_max`; at least one.
    ///
    /// # Errors
    /// When they can't be read, or are no longer there.
    fn entries(&self, first: u64, last: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError>;
}

/// Keeps the two newest snapshots.
pub trait SnapshotFiles: Send + Sync + 'static {
    /// Begins a snapshot. Nobody sees it before [`SnapshotSink::finish`].
    ///
    /// # Errors
    /// When there is no room for it, or it can't be made.
    fn create(&self, base: &Base) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// Begins a snapshot that arrives, or goes on with it: `content`, of digits, letters and dashes, tells those of one
    /// base apart. What arrived of it should outlive its sink, as long as no other is received. It need not be durable:
    /// the whole is checked before it is finished.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn receive(&self, base: &Base, content: &str) -> Result<Arriving, StorageError> {
        let _ = content;
        self.create(base).map(Arriving::begin)
    }

    /// Opens the snapshot at `position`. Damage is reported by the reader at the latest at its end, if all is read.
    ///
    /// # Errors
    /// When it is not there, or can't be read.
    fn open(&self, position: Position) -> Result<Box<dyn SnapshotStream>, StorageError>;
}

/// A snapshot that arrives.
pub struct Arriving {
    /// Takes what comes next.
    pub sink: Box<dyn SnapshotSink>,
    /// How many bytes it has.
    pub length: u64,
    /// Their CRC-32C.
    pub checksum: u32,
}

impl Arriving {
    /// Nothing has arrived yet.
    pub fn begin(sink: Box<dyn SnapshotSink>) -> Self {
        Self {
            sink,
            length: 0,
            checksum: 0,
        }
    }
}

/// A snapshot being read.
pub trait SnapshotStream: Read + Seek + Send {}

impl<S: Read + Seek + Send> SnapshotStream for S {}

/// A snapshot being written. Dropped before it is finished, it leaves no trace, unless it is
/// [received](SnapshotFiles::receive).
pub trait SnapshotSink: io::Write + Send {
    /// Makes it durable and visible, whole (rule 10); of those before it, only the newest is kept.
    ///
    /// # Errors
    /// When it could not be made durable; it is then not visible.
    fn finish(self: Box<Self>) -> Result<(), StorageError>;

    /// Gives it up: it leaves no trace, also if it was received.
    fn discard(self: Box<Self>) {}
}

/// Copies a whole view into a snapshot.
pub fn save(
    files: &dyn SnapshotFiles,
    base: &Base,
    view: &mut dyn crate::Snapshot,
) -> Result<(), StorageError> {
    let mut sink = files.create(base)?;
    let mut buffer = io::BufWriter::with_capacity(256 * 1024, &mut sink);
    let written = view.write_to(&mut buffer).and_then(|()| buffer.flush());
    drop(buffer);
    written.map_err(|error| {
        StorageError::fatal(format!("a snapshot could not be written: {error}"))
    })?;
    sink.finish()
}
