//! What the log asks of a disk: few calls, so that a simulator can put a lying, tearing, rotting one under the same code.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// A place for files. Paths are handed through as the caller built them.
///
/// Nothing is durable before it is flushed: bytes by [`DiskFile::sync_data`], names by [`Disk::sync_dir`].
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, and whatever the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, or empties the one that is there.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in the same directory, replacing whatever has that name.
    ///
    /// # Errors
    /// Whatever the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; those who have it open keep it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, and whatever the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files and directories in `dir`, in rising order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such directory, and whatever the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in `dir` durable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes `dir` and its missing parents, durably; one that exists is left as it is.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that `path` stands for, until the returned value is dropped or the process ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds it, and whatever the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`, as one write wherever the system takes it whole.
    ///
    /// # Errors
    /// Whatever the system says; how much was written is then unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on and says how many bytes there were: fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written so far, and the length, durable (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the system says. What was written since the last flush can't be trusted after that (rule 2).
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space for `bytes` bytes and makes the file that long, reading as zeros where nothing was written.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no room; [`io::ErrorKind::Unsupported`] if the file system can't.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn length(&self) -> io::Result<u64>;
}

/// Holds a lock; dropping it lets go.
pub trait DiskLock: Send + Sync {}

/// Whether `error` says that the disk, or this user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Puts `bytes` under `name` in `dir`, whole or not at all: temporary name, flush, rename, directory flush (P49).
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let file = disk.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// All of a small file; of a longer one only `limit` bytes, so that no garbage fills the memory.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = file.length()?.min(limit as u64);
    let mut bytes = vec![0; length as usize];
    let filled = file.read_at(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}
