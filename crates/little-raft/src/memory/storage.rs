//! A storage in memory. What it holds outlives the replica, as a disk would.

use std::io::{self, Cursor, Write as IoWrite};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use little_raft_core::{Base, Entry, EntryKind, Identity, Position, Restored, Runs, Write};

use crate::error::StorageError;
use crate::storage::{
    Founding, LogReader, Opened, SnapshotFiles, SnapshotSink, SnapshotStream, Space, Storage,
};

/// Remembers in memory. Clones share what they hold, so that a replica can be started again on a clone of its
/// storage. Everything is lost with the last clone: a cluster on this forgets its promises when the process ends.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    identity: Option<Identity>,
    hard_state: little_raft_core::HardState,
    base: Base,
    /// Those at or below the base count no more.
    entries: Runs,
    snapshots: Vec<(Base, Arc<[u8]>)>,
    full: bool,
    broken: bool,
}

impl MemoryStorage {
    /// A storage that remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pretends that the disk is full (or that there is room again), for tests.
    pub fn set_full(&self, full: bool) {
        self.disk().full = full;
    }

    /// Makes every later append fail for good, for tests.
    pub fn fail(&self) {
        self.disk().broken = true;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn open(&mut self, founding: &Founding) -> Result<Opened, StorageError> {
        let mut disk = self.disk();
        let identity = disk.identity.get_or_insert_with(|| Identity {
            cluster: founding.cluster,
            replica: founding.replica,
            incarnation: founding.incarnation,
            boot: 0,
            founders: founding.founders.clone(),
        });
        if identity.cluster != founding.cluster || identity.replica != founding.replica {
            return Err(StorageError::fatal(format!(
                "this memory belongs to replica {} of another cluster or group; give every replica its own",
                identity.replica
            )));
        }
        identity.boot += 1;
        Ok(Opened {
            identity: identity.clone(),
            snapshots: disk
                .snapshots
                .iter()
                .map(|(base, _)| base.clone())
                .collect(),
            restored: disk.restored(founding),
        })
    }

    fn identity(&self) -> Result<Option<Identity>, StorageError> {
        Ok(self.disk().identity.clone())
    }

    fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError> {
        let mut disk = self.disk();
        if disk.broken {
            return Err(StorageError::fatal("the memory was told to fail"));
        }
        for write in writes {
            disk.append(write);
        }
        Ok(Space { low: disk.full })
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn snapshots(&self) -> Arc<dyn SnapshotFiles> {
        Arc::new(self.clone())
    }

    fn is_immediate(&self) -> bool {
        true
    }
}

impl Disk {
    fn append(&mut self, write: &Write) {
        self.hard_state = write.hard_state;
        if let Some(base) = &write.base {
            self.begin_after(base);
        }
        if let Some(first) = write.entries.first() {
            self.entries.truncate(first.position.index);
            self.entries.push_run(write.entries.clone());
        }
    }

    fn begin_after(&mut self, base: &Base) {
        let index = base.position.index;
        let is_there = self.from(index).next().map(|entry| entry.position) == Some(base.position);
        if is_there {
            self.entries.shrink(0, index);
        } else if base.position != self.base.position {
            self.entries = Runs::default();
        }
        self.base = base.clone();
    }

    /// The entries from `first` on.
    fn from(&self, first: u64) -> impl Iterator<Item = &Entry> {
        self.entries.from(first.max(self.base.position.index + 1))
    }

    fn last(&self) -> u64 {
        let last = self.entries.last().map(|entry| entry.position);
        last.unwrap_or(self.base.position).index
    }

    fn memberships(&self) -> Vec<Entry> {
        let entries = self.from(0);
        let memberships = entries.filter(|entry| entry.kind == EntryKind::Membership);
        memberships.cloned().collect()
    }

    fn restored(&self, founding: &Founding) -> Restored {
        let mut terms: Vec<Position> = Vec::new();
        for entry in self.from(0) {
            if terms.last().map(|run| run.term) != Some(entry.position.term) {
                terms.push(entry.position);
            }
        }
        let mut base = self.base.clone();
        if base.membership.members.is_empty() {
            base.membership =
                little_raft_core::Membership::founders(founding.founders.iter().cloned());
        }
        Restored {
            hard_state: self.hard_state,
            last: self.last(),
            base,
            terms,
            memberships: self.memberships(),
            tail: self.from(0).cloned().collect(),
        }
    }
}

impl LogReader for MemoryStorage {
    fn entries(&self, first: u64, last: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let mut disk = self.disk();
        let (begin, end) = (disk.base.position.index + 1, disk.last());
        if first < begin || last > end {
            return Err(StorageError::fatal(format!(
                "entries {first} to {last} are not in memory; it holds {begin} to {end}"
            )));
        }
        Ok(disk.entries.get(first, last, bytes_max).to_vec())
    }
}

impl SnapshotFiles for MemoryStorage {
    fn create(&self, base: &Base) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(MemorySink {
            storage: self.clone(),
            base: base.clone(),
            data: Vec::new(),
        }))
    }

    fn open(&self, position: Position) -> Result<Box<dyn SnapshotStream>, StorageError> {
        let disk = self.disk();
        let found = disk
            .snapshots
            .iter()
            .find(|(base, _)| base.position == position);
        match found {
            Some((_, data)) => Ok(Box::new(Cursor::new(data.clone()))),
            None => Err(StorageError::fatal(format!(
                "no snapshot at {position} is in memory"
            ))),
        }
    }
}

struct MemorySink {
    storage: MemoryStorage,
    base: Base,
    data: Vec<u8>,
}

impl IoWrite for MemorySink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.data.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for MemorySink {
    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        let snapshots = &mut self.storage.disk().snapshots;
        snapshots.retain(|(base, _)| base.position != self.base.position);
        snapshots.push((self.base, self.data.into()));
        snapshots.sort_by_key(|(base, _)| base.position.index);
        let surplus = snapshots.len().saturating_sub(2);
        snapshots.drain(..surplus);
        Ok(())
    }
}
