//! A disk in memory that lies like a real one: what was not flushed may be lost, torn or kept at a power cut; a flush
//! that fails drops what it should have written, though it can still be read until then; names are durable once their
//! directory was flushed; operations fail, and room runs out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use little_raft_wal::{Disk, DiskFile, DiskLock};

use crate::random::{Random, mix};

pub(super) const SECTOR_BYTES: usize = 512;

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It fails, and so do all after it: the power is gone.
    Power,
    /// It fails; a failed flush leaves the pages clean, and what was in some of them never reaches the disk.
    Error,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    /// Names as programs see them, and as they would be after a power cut.
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    failure: Option<(u64, Failure)>,
    is_dead: bool,
    room: Option<u64>,
    /// An operation has failed since the disk was last started on.
    is_disturbed: bool,
}

/// As on a machine: programs see the pages in memory, and the system writes back those that are dirty.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// What a power cut leaves for sure.
    durable: Vec<u8>,
    /// Sectors that were written and not flushed since.
    dirty: BTreeSet<usize>,
}

/// A disk in memory, as a simulated replica has it; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

struct SimFile {
    disk: SimDisk,
    id: usize,
}

struct SimLock(SimDisk, PathBuf);

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

impl SimDisk {
    /// All files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().live.keys().cloned().collect()
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Changes a file behind everybody's back.
    ///
    /// # Panics
    /// If there is none at `path`.
    pub fn change<T>(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut state = self.state();
        let id = *state.live.get(path).expect("it is there");
        let file = &mut state.files[id];
        let changed = change(&mut file.bytes);
        file.durable.clone_from(&file.bytes);
        file.dirty.clear();
        changed
    }

    /// Makes a file so long: what is cut off is gone, what is new are zeros.
    ///
    /// # Errors
    /// If there is no room, or the disk fails.
    ///
    /// # Panics
    /// If there is none at `path`.
    pub fn set_length(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let id = *state.live.get(path).expect("it is there");
        state.grow(id, bytes as usize)?;
        state.files[id].set_length(bytes as usize);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation after so many more meets this.
    pub(super) fn fail_after(&self, operations: u64, failure: Failure) {
        let mut state = self.state();
        state.failure = Some((state.operations + operations, failure));
    }

    /// There is room for so many bytes more; without a limit, for all.
    pub(super) fn set_room(&self, more: Option<u64>) {
        let mut state = self.state();
        let used = state.used();
        state.room = more.map(|more| used + more);
    }

    /// The power goes and comes back: what was not flushed is there in parts.
    pub(super) fn cut_power(&self, random: &mut Random) {
        let mut state = self.state();
        let state = &mut *state;
        if random.chance(500) {
            state.live = state.durable.clone();
        }
        state.durable = state.live.clone();
        for file in &mut state.files {
            file.tear(random);
        }
        state.revive();
    }

    /// Whether an operation has failed since the last start: then whoever uses it may give up.
    pub(super) fn is_disturbed(&self) -> bool {
        self.state().is_disturbed
    }

    /// The process has ended, and the machine runs on: all that was written is there.
    pub(super) fn survive_kill(&self) {
        self.state().revive();
    }
}

impl File {
    /// The power goes: of what is dirty some sectors had been written back, and perhaps the new length.
    fn tear(&mut self, random: &mut Random) {
        let length = random.pick(&[self.durable.len(), self.bytes.len()]);
        for sector in std::mem::take(&mut self.dirty) {
            if random.chance(500) {
                self.write_back(sector);
            }
        }
        self.durable.resize(length, 0);
        self.bytes.clone_from(&self.durable);
    }

    /// `chance` says which of the sectors that are written over had been written back before.
    fn write(&mut self, bytes: &[u8], offset: usize, chance: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let sectors = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        let again: Vec<usize> = self.dirty.range(sectors.clone()).copied().collect();
        again
            .into_iter()
            .filter(|sector| mix(chance + *sector as u64).is_multiple_of(2))
            .for_each(|sector| self.write_back(sector));
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.dirty.extend(sectors);
    }

    fn set_length(&mut self, length: usize) {
        let before = self.bytes.len();
        self.bytes.resize(length, 0);
        self.dirty.retain(|sector| sector * SECTOR_BYTES < length);
        if before < length {
            let new = before / SECTOR_BYTES..length.div_ceil(SECTOR_BYTES);
            self.dirty.extend(new);
        }
    }

    fn flush(&mut self) {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .for_each(|sector| self.write_back(sector));
        self.durable.resize(self.bytes.len(), 0);
    }

    /// What a failed flush leaves: all pages are clean, but not all were written.
    fn fail_to_flush(&mut self, chance: u64) {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .filter(|sector| mix(chance + *sector as u64).is_multiple_of(2))
            .for_each(|sector| self.write_back(sector));
    }

    fn write_back(&mut self, sector: usize) {
        let begin = sector * SECTOR_BYTES;
        let end = (begin + SECTOR_BYTES).min(self.bytes.len());
        if end > self.durable.len() {
            self.durable.resize(end, 0);
        }
        self.durable[begin..end].copy_from_slice(&self.bytes[begin..end]);
    }
}

impl State {
    fn revive(&mut self) {
        (self.failure, self.is_dead, self.is_disturbed) = (None, false, false);
        self.locks.clear();
    }

    /// Whether the operation fails.
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.failure {
            _ if self.is_dead => Err(io::Error::other("the power is gone")),
            Some((at, failure)) if self.operations > at => {
                self.failure = None;
                self.is_dead = failure == Failure::Power;
                self.is_disturbed = true;
                Err(io::Error::other("a simulated failure"))
            }
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let lengths = self.live.values().map(|id| self.files[*id].bytes.len());
        lengths.sum::<usize>() as u64
    }

    fn grow(&mut self, id: usize, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.files[id].bytes.len()) as u64;
        if more > 0 && self.room.is_some_and(|room| self.used() + more > room) {
            self.is_disturbed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.state().live.get(path).copied();
        let id = id.ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, id }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.begin()?;
        let id = state.files.len();
        state.files.push(File::default());
        state.live.insert(path.to_path_buf(), id);
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let id = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let removed = state.live.remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let paths = state.live.keys();
        let inside = paths.filter_map(|path| path.strip_prefix(dir).ok());
        let names = inside.filter_map(|path| path.iter().next()?.to_str());
        let names: BTreeSet<String> = names.map(String::from).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let is_here = |path: &Path| path.parent() == Some(dir);
        let state = &mut *state;
        state.durable.retain(|path, _| !is_here(path));
        let names = state.live.iter().filter(|(path, _)| is_here(path));
        let names = names.map(|(path, id)| (path.clone(), *id));
        state.durable.extend(names);
        Ok(())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.state().locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(self.clone(), path.to_path_buf())))
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = offset as usize;
        let outcome = state.begin();
        let written = match outcome {
            Ok(()) => bytes.len(),
            // Cut short.
            Err(_) => bytes.len() / 2,
        };
        state.grow(self.id, offset + written)?;
        let chance = state.operations;
        state.files[self.id].write(&bytes[..written], offset, chance);
        outcome
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.id].bytes;
        let from = (offset as usize).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let (outcome, chance) = (state.begin(), state.operations);
        let is_dead = state.is_dead;
        let file = &mut state.files[self.id];
        match &outcome {
            Ok(()) => file.flush(),
            Err(_) if is_dead => {}
            Err(_) => file.fail_to_flush(chance),
        }
        outcome
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin()?;
        state.grow(self.id, bytes as usize)?;
        let chance = state.operations;
        let file = &mut state.files[self.id];
        let length = file.bytes.len();
        if bytes as usize > length {
            file.write(&vec![0; bytes as usize - length], length, chance);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.id].bytes.len() as u64)
    }
}
