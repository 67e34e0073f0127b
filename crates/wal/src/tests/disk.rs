//! A disk in memory that forgets what was not flushed, tears, fails, fills up, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{Disk, DiskFile, DiskLock};

/// One thing done to the disk that could be lost or fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Create(PathBuf),
    Write(PathBuf, u64, usize),
    Sync(PathBuf),
    Reserve(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir,
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Default)]
struct State {
    contents: Vec<Content>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    ops: Vec<Op>,
    written: u64,
    /// Bytes of writes let through before the power goes.
    fuse: Option<u64>,
    /// The number of the operation that fails, and how.
    fault: Option<(usize, io::ErrorKind)>,
    /// Bytes there is room for.
    room: Option<u64>,
    dead: bool,
}

/// The disk. What was not flushed is lost by [`TestDisk::after_power_cut`].
#[derive(Clone, Default)]
pub(super) struct TestDisk(Arc<Mutex<State>>);

struct TestFile {
    disk: TestDisk,
    id: usize,
    path: PathBuf,
}

struct TestLock(TestDisk, PathBuf);

impl DiskLock for TestLock {}

impl Drop for TestLock {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

impl TestDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    /// What the disk holds after a power cut: flushed bytes under flushed names.
    pub(super) fn after_power_cut(&self) -> Arc<Self> {
        self.revived(|state| &state.durable, |content| content.durable.clone())
    }

    /// What it holds after a power cut at which everything happened to have been written already.
    pub(super) fn after_kill(&self) -> Arc<Self> {
        self.revived(|state| &state.live, |content| content.live.clone())
    }

    /// What it holds after a power cut that tore the unflushed writes: any of their parts may be there or not.
    pub(super) fn after_tear(&self, seed: u64) -> Arc<Self> {
        self.revived(|state| &state.durable, |content| torn(content, seed))
    }

    fn revived(
        &self,
        names: impl Fn(&State) -> &BTreeMap<PathBuf, usize>,
        bytes: impl Fn(&Content) -> Vec<u8>,
    ) -> Arc<Self> {
        let old = self.state();
        let mut new = State::default();
        for (path, id) in names(&old) {
            let held = bytes(&old.contents[*id]);
            new.live.insert(path.clone(), new.contents.len());
            new.contents.push(Content {
                live: held.clone(),
                durable: held,
            });
        }
        new.durable = new.live.clone();
        Arc::new(Self(Arc::new(Mutex::new(new))))
    }

    pub(super) fn cut_power_after(&self, bytes: u64) {
        let mut state = self.state();
        state.fuse = Some(state.written + bytes);
    }

    pub(super) fn fail_op(&self, number: usize, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fault = Some((state.ops.len() + number, kind));
    }

    pub(super) fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    pub(super) fn used(&self) -> u64 {
        let state = self.state();
        let lengths = state.live.values().map(|id| state.contents[*id].live.len());
        lengths.sum::<usize>() as u64
    }

    pub(super) fn written(&self) -> u64 {
        self.state().written
    }

    pub(super) fn take_ops(&self) -> Vec<Op> {
        std::mem::take(&mut self.state().ops)
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.state().live.keys().cloned().collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.contents[state.live[path]].live.clone()
    }

    /// Changes a file behind everybody's back.
    pub(super) fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = state.live[path];
        state.contents[id] = Content {
            live: bytes.clone(),
            durable: bytes,
        };
    }

    pub(super) fn forget(&self, path: &Path) {
        let mut state = self.state();
        state.live.remove(path);
        state.durable.remove(path);
    }
}

fn torn(content: &Content, seed: u64) -> Vec<u8> {
    const PART: usize = 32;
    let mut bytes = content.durable.clone();
    bytes.resize(content.live.len(), 0);
    for (number, part) in content.live.chunks(PART).enumerate() {
        let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
        let kept = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 63 == 1;
        if kept {
            let begin = number * PART;
            bytes[begin..begin + part.len()].copy_from_slice(part);
        }
    }
    bytes
}

impl State {
    fn begin(&mut self, op: Op) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        let number = self.ops.len();
        self.ops.push(op);
        match self.fault {
            Some((at, kind)) if at == number => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let lengths = self.live.values().map(|id| self.contents[*id].live.len());
        lengths.sum::<usize>() as u64
    }

    fn grow(&mut self, id: usize, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.contents[id].live.len()) as u64;
        if more > 0 && self.room.is_some_and(|room| self.used() + more > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let live = &mut self.contents[id].live;
        live.resize(live.len().max(length), 0);
        Ok(())
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.state().live.get(path).copied();
        let id = id.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(TestFile {
            disk: self.clone(),
            id,
            path: path.to_path_buf(),
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.begin(Op::Create(path.to_path_buf()))?;
        match state.live.get(path).copied() {
            Some(id) => state.contents[id].live.clear(),
            None => {
                let id = state.contents.len();
                state.contents.push(Content::default());
                state.live.insert(path.to_path_buf(), id);
            }
        }
        drop(state);
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Op::Rename(from.to_path_buf(), to.to_path_buf()))?;
        let id = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Op::Remove(path.to_path_buf()))?;
        let removed = state.live.remove(path);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state
            .live
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok());
        let names = inside.filter_map(|path| path.iter().next()?.to_str());
        let names: BTreeSet<String> = names.map(String::from).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Op::SyncDir)?;
        let here = |path: &PathBuf| path.parent() == Some(dir);
        let names: Vec<_> = state.live.iter().filter(|(path, _)| here(path)).collect();
        let names: Vec<_> = names
            .into_iter()
            .map(|(path, id)| (path.clone(), *id))
            .collect();
        state.durable.retain(|path, _| !here(path));
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
        Ok(Box::new(TestLock(self.clone(), path.to_path_buf())))
    }
}

impl DiskFile for TestFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Op::Write(self.path.clone(), offset, bytes.len()))?;
        let left = state.fuse.map_or(u64::MAX, |fuse| fuse - state.written);
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let offset = offset as usize;
        state.grow(self.id, offset + count)?;
        state.contents[self.id].live[offset..offset + count].copy_from_slice(&bytes[..count]);
        state.written += count as u64;
        state.dead = count < bytes.len();
        if state.dead {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let live = &state.contents[self.id].live;
        let from = (offset as usize).min(live.len());
        let count = buffer.len().min(live.len() - from);
        buffer[..count].copy_from_slice(&live[from..from + count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.begin(Op::Sync(self.path.clone()));
        let content = &mut state.contents[self.id];
        match result {
            Ok(()) => content.durable = content.live.clone(),
            // As after fsyncgate: a failed flush leaves the pages clean and readable, and never writes them.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Op::Reserve(self.path.clone(), bytes))?;
        state.grow(self.id, bytes as usize)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.id].live.len() as u64)
    }
}
