//! The built-in storage: a write-ahead log in files, and snapshots beside it.

use std::io::{self, Write as IoWrite};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use little_raft_core::{Base, Entry, Identity, Membership, Position, Restored, Write};
use little_raft_wal::{
    AppendError, Damage, Disk, Options, Reader, RealDisk, SnapshotError, SnapshotStore,
    SnapshotWriter, Upkeeper, Wal,
};

use crate::error::StorageError;
use crate::storage::{
    Arriving, Founding, LogReader, Opened, SnapshotFiles, SnapshotSink, SnapshotStream, Space,
    Storage,
};

/// The one group in a data directory, until there are several.
pub(crate) const GROUP: u64 = 0;
/// The log's upkeep runs after so many bytes at the latest.
const UPKEEP_BYTES: usize = 256 << 10;
/// A witness keeps little, and may have little room.
const WITNESS_SEGMENT_BYTES: u64 = 4 << 20;

/// Remembers in a directory, durably: one write and one flush an append.
pub struct WalStorage {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    has_threads: bool,
    open: Option<Open>,
}

struct Open {
    wal: Wal,
    snapshots: SnapshotStore,
    /// Of the newest snapshot, where none that is whole reaches the log.
    damage: Option<Damage>,
    upkeep: Upkeep,
    since_upkeep: usize,
    low: bool,
}

impl WalStorage {
    /// In this directory, which is made if it is not there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(RealDisk), dir, Options::default())
    }

    /// The same for a witness: in small segments.
    pub(crate) fn for_witness(dir: impl Into<PathBuf>) -> Self {
        let options = Options {
            segment_bytes: WITNESS_SEGMENT_BYTES,
            ..Options::default()
        };
        Self::on(Arc::new(RealDisk), dir, options)
    }

    /// The same on any disk, with sizes of your own.
    pub fn on(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>, options: Options) -> Self {
        Self {
            disk,
            dir: dir.into(),
            options,
            has_threads: true,
            open: None,
        }
    }

    /// Does the log's upkeep within [`append`](Storage::append), without a thread: slower, and the same in every run.
    pub fn without_threads(mut self) -> Self {
        self.has_threads = false;
        self
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("a storage is opened first")
    }
}

impl Storage for WalStorage {
    fn open(&mut self, founding: &Founding) -> Result<Opened, StorageError> {
        let whose = little_raft_wal::Founding {
            cluster: founding.cluster,
            replica: founding.replica,
            founders: founding.founders.clone(),
            incarnation: founding.incarnation,
        };
        let (wal, mut recovered) = Wal::open(self.disk.clone(), &self.dir, self.options, &whose)
            .map_err(StorageError::fatal)?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!("{torn}");
        }
        let mut restored: Restored = recovered.groups.remove(&GROUP).unwrap_or_default();
        if restored.base.membership.members.is_empty() {
            let founders = recovered.identity.founders.iter().cloned();
            restored.base.membership = Membership::founders(founders);
        }
        let snapshots = SnapshotStore::open(self.disk.clone(), &wal.snapshots_dir(GROUP))?;
        let (kept, damage) = newest(&snapshots, restored.base.position)?;
        self.open = Some(Open {
            upkeep: Upkeep::new(wal.upkeeper(), self.has_threads).map_err(StorageError::fatal)?,
            wal,
            snapshots,
            damage,
            since_upkeep: 0,
            low: false,
        });
        Ok(Opened {
            identity: recovered.identity,
            restored,
            snapshots: kept.into_iter().collect(),
        })
    }

    fn identity(&self) -> Result<Option<Identity>, StorageError> {
        Wal::identity(&*self.disk, &self.dir).map_err(StorageError::fatal)
    }

    fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError> {
        let open = self.opened();
        if open.low {
            open.low = open.wal.maintenance()?.low_space;
        }
        if writes.is_empty() {
            return Ok(Space { low: open.low });
        }
        let batch: Vec<(u64, &Write)> = writes.iter().map(|write| (GROUP, write)).collect();
        open.low = open.wal.append(&batch)?.low_space;
        let entries = writes.iter().flat_map(|write| write.entries.iter());
        open.since_upkeep += entries.map(Entry::bytes).sum::<usize>();
        let drops_head = writes.iter().any(|write| write.base.is_some());
        if drops_head || open.since_upkeep >= UPKEEP_BYTES {
            open.since_upkeep = 0;
            open.upkeep.poke();
        }
        Ok(Space { low: open.low })
    }

    fn idle(&mut self) -> Result<(), StorageError> {
        let open = self.opened();
        open.wal.mark()?;
        open.low = open.wal.maintenance()?.low_space;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        let open = self.open.as_ref().expect("a storage is opened first");
        Arc::new(WalReader(open.wal.reader()))
    }

    fn snapshots(&self) -> Arc<dyn SnapshotFiles> {
        let open = self.open.as_ref().expect("a storage is opened first");
        Arc::new(WalSnapshots {
            store: open.snapshots.clone(),
            damage: open.damage.clone(),
        })
    }
}

/// The newest snapshot that is whole. Newer ones that are damaged are removed, so that they don't count among the two
/// that are kept; but where the log needs one and none is whole, the damaged ones are all there is: then what is wrong with
/// the newest is said, too.
fn newest(
    snapshots: &SnapshotStore,
    log_base: Position,
) -> Result<(Option<Base>, Option<Damage>), StorageError> {
    // Whether it reaches the log is for recovery to say: a durable machine may need none.
    let found = snapshots.newest(Position::default())?;
    for damage in &found.damaged {
        tracing::error!(%damage, "a snapshot is damaged and passed over");
    }
    let base = found.snapshot.map(|snapshot| snapshot.base().clone());
    let best = base.as_ref().map_or(0, |base| base.position.index);
    let damage = found.damaged.into_iter().next();
    if best < log_base.index {
        return Ok((base, damage));
    }
    if damage.is_some() {
        for position in snapshots.list()? {
            if position.index > best {
                snapshots.remove(position)?;
            }
        }
    }
    Ok((base, None))
}

struct WalReader(Reader);

impl LogReader for WalReader {
    fn entries(&self, first: u64, last: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        self.0
            .read(GROUP, first, last, bytes_max)
            .map_err(StorageError::fatal)
    }
}

struct WalSnapshots {
    store: SnapshotStore,
    damage: Option<Damage>,
}

impl SnapshotFiles for WalSnapshots {
    fn create(&self, base: &Base) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(WalSink(self.store.begin(base)?)))
    }

    fn receive(&self, base: &Base, content: &str) -> Result<Arriving, StorageError> {
        let writer = self.store.receive(base, content)?;
        Ok(Arriving {
            length: writer.length(),
            checksum: writer.checksum(),
            sink: Box::new(WalSink(writer)),
        })
    }

    fn open(&self, position: Position) -> Result<Box<dyn SnapshotStream>, StorageError> {
        match (self.store.at(position), &self.damage) {
            // The log begins after one that was given up for those that are damaged.
            (Err(SnapshotError::Missing { log_base, .. }), Some(damage)) => {
                let damage = damage.clone();
                Err(SnapshotError::Unusable { damage, log_base }.into())
            }
            (opened, _) => Ok(Box::new(opened?)),
        }
    }
}

struct WalSink(SnapshotWriter);

impl IoWrite for WalSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data).map_err(io::Error::other)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for WalSink {
    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.0.finish()?;
        Ok(())
    }

    fn discard(self: Box<Self>) {
        self.0.discard();
    }
}

/// Prepares the next segment, off the append path if there is a thread for it.
enum Upkeep {
    Inline(Upkeeper),
    Thread(Option<SyncSender<()>>, Option<JoinHandle<()>>),
}

impl Upkeep {
    fn new(upkeeper: Upkeeper, has_thread: bool) -> io::Result<Self> {
        if !has_thread {
            return Ok(Self::Inline(upkeeper));
        }
        let (pokes, poked) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("raft-log-upkeep".into())
            .spawn(move || {
                while poked.recv().is_ok() {
                    keep_up(&upkeeper);
                }
            })?;
        Ok(Self::Thread(Some(pokes), Some(thread)))
    }

    fn poke(&self) {
        match self {
            Self::Inline(upkeeper) => keep_up(upkeeper),
            Self::Thread(pokes, _) => match pokes.as_ref().map(|pokes| pokes.try_send(())) {
                // It has been told already, or will be missed at the next append.
                None
                | Some(Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) => {}
            },
        }
    }
}

fn keep_up(upkeeper: &Upkeeper) {
    // The next append reports it too, and it ends the replica there.
    if let Err(error) = upkeeper.run() {
        tracing::error!(%error, "the log's upkeep failed");
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if let Self::Thread(pokes, thread) = self {
            // Without a sender, it ends.
            *pokes = None;
            if let Some(thread) = thread.take() {
                // Its body does not panic; if it did, the log is being closed anyway.
                let _ = thread.join();
            }
        }
    }
}

impl From<AppendError> for StorageError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoSpace { .. } => Self::no_space(error),
            other => Self::fatal(other),
        }
    }
}

impl From<SnapshotError> for StorageError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NoSpace { .. } => Self::no_space(error),
            other => Self::fatal(other),
        }
    }
}
