//! The database's file on a disk that may be full.
//!
//! What the database can't write ends it, and with it the replica. A full disk is no reason for that: whoever writes
//! waits here until there is space. Space for a longer file is reserved when it grows, so that what waits is a file
//! that grows, and hardly ever a write into it: the log, which reserves its space as well, refuses writes before.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Between looking whether there is space again.
const RETRY: Duration = Duration::from_millis(100);

/// A file that waits for space instead of failing.
#[derive(Debug)]
pub struct PatientFile {
    file: File,
    full: Arc<AtomicBool>,
    inner: FileBackend,
}

impl PatientFile {
    /// Opens the file, or makes an empty one. While it waits for space, `full` is set.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, full: Arc<AtomicBool>) -> Result<Self, DatabaseError> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(redb::StorageError::from)?;
        let second = file.try_clone().map_err(redb::StorageError::from)?;
        Ok(Self {
            inner: FileBackend::new(file)?,
            file: second,
            full,
        })
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // Some file systems can't: there the writes themselves may have to wait.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            reserved => reserved.map_err(io::Error::from),
        }
    }
}

/// Each call says where and what, so that making it again changes nothing that it did before.
fn patiently(full: &AtomicBool, mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut waited = false;
    loop {
        match call() {
            Err(error) if is_full(&error) => {
                if !waited {
                    tracing::error!(
                        "the disk of the store is full: writes wait until there is space; make room"
                    );
                }
                waited = true;
                full.store(true, Ordering::Relaxed);
                thread::sleep(RETRY);
            }
            done => {
                if waited {
                    full.store(false, Ordering::Relaxed);
                    tracing::info!("the disk of the store has space again");
                }
                return done;
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl StorageBackend for PatientFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.inner.len()? {
            patiently(&self.full, || self.reserve(len))?;
        }
        patiently(&self.full, || self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        patiently(&self.full, || self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_is_waited_for() {
        let mut calls = 0;
        let full = AtomicBool::new(false);
        let done = patiently(&full, || {
            calls += 1;
            assert_eq!(full.load(Ordering::Relaxed), calls > 1);
            match calls {
                1..3 => Err(Errno::NOSPC.into()),
                _ => Ok(()),
            }
        });
        assert!(done.is_ok());
        assert_eq!(calls, 3);
        assert!(!full.load(Ordering::Relaxed));
        let failed = patiently(&full, || Err(Errno::IO.into()));
        assert_eq!(
            failed.map_err(|error| error.raw_os_error()),
            Err(Some(Errno::IO.raw_os_error()))
        );
    }
}
