//! A disk in memory whose bytes can be changed behind the log's back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use little_raft_wal::{Disk, DiskFile, DiskLock};

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>);

#[derive(Clone, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

struct Unlocked;

impl DiskLock for Unlocked {}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, MemoryFile>> {
        self.0.lock().expect("nothing panics with it")
    }

    fn file(&self, path: &Path) -> io::Result<MemoryFile> {
        let file = self.files().get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.files().keys().cloned().collect()
    }

    /// Changes a file that is there.
    pub fn change<T>(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let file = self.file(path).expect("it is there");
        change(&mut file.bytes())
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        self.files().values().map(|file| file.bytes().len()).sum()
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("nothing panics with it")
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.file(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = MemoryFile::default();
        self.files().insert(path.into(), file.clone());
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.files().remove(from);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        self.files().insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files().remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files();
        let names = files.keys().filter(|path| path.parent() == Some(dir));
        let names = names.filter_map(|path| path.file_name()?.to_str().map(Into::into));
        Ok(names.collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        Ok(Box::new(Unlocked))
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let end = begin + bytes.len();
        let mut content = self.bytes();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[begin..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.bytes();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.get(begin..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let mut content = self.bytes();
        if content.len() < bytes {
            content.resize(bytes, 0);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
}
