//! Snapshots: files beside the log, whole and checked, or not there at all (rule 10).

mod arriving;
mod reader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, BytesMut};
use little_raft_core::{Base, Codec, Position, planted};

pub use reader::SnapshotReader;

use crate::FORMAT_VERSION;
use crate::disk::{Disk, DiskFile, is_full};
use crate::error::Damage;

const MAGIC: &[u8; 8] = b"LRSNAPS\n";
const END_MAGIC: u32 = 0x444e_4552;
const HEADER_BYTES: usize = 20;
const TRAILER_BYTES: usize = 20;
const BASE_BYTES_MAX: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const KEPT: usize = 2;

/// Why a snapshot could not be written, stored or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk is full. What was written of it is gone; make room and begin anew.
    #[error("no space left for the snapshot {}; make room on the disk", file.display())]
    NoSpace {
        /// The file.
        file: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "snapshot {} has format version {found}, and this program knows versions up to {FORMAT_VERSION}; start the \
         newer program that wrote it", file.display()
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The newest is damaged, and no older one reaches up to where the log begins.
    #[error("{damage}; no older snapshot reaches the log, which begins after {log_base}")]
    Unusable {
        /// The newest snapshot's damage.
        damage: Damage,
        /// Where the log begins.
        log_base: Position,
    },
    /// There is none, or only from before the log's beginning.
    #[error(
        "no snapshot in {} reaches the log, which begins after {log_base}; restore the directory from a copy, or \
         empty the data directory and add the replica to the group anew", dir.display()
    )]
    Missing {
        /// The snapshots' directory.
        dir: PathBuf,
        /// Where the log begins.
        log_base: Position,
    },
    /// The disk failed.
    #[error("{} could not be read or written: {source}; check the disk", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SnapshotError {
    fn io(file: &Path, source: io::Error) -> Self {
        let file = file.to_path_buf();
        if is_full(&source) {
            Self::NoSpace { file }
        } else {
            Self::Io { file, source }
        }
    }
}

/// The snapshots of one group, in a directory of their own. The newest two are kept.
#[derive(Clone)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    temporaries: Arc<AtomicU64>,
}

/// The snapshot to start from.
pub struct Newest {
    /// It, checked from end to end; none if the log from its very beginning has to do.
    pub snapshot: Option<SnapshotReader>,
    /// Newer ones that are damaged; worth a line in the program's log.
    pub damaged: Vec<Damage>,
}

impl SnapshotStore {
    /// Opens the store in `dir`, or makes it; removes what unfinished writers left, and makes the names of the finished
    /// ones durable, which a killed process may not have done.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, SnapshotError> {
        let failed = |error| SnapshotError::io(dir, error);
        disk.create_dir(dir).map_err(failed)?;
        for name in disk.list(dir).map_err(failed)? {
            if name.ends_with(".tmp") {
                disk.remove(&dir.join(name)).map_err(failed)?;
            }
        }
        disk.sync_dir(dir).map_err(failed)?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            temporaries: Arc::default(),
        })
    }

    /// The store in `dir` to be looked at: nothing is made or removed.
    pub(crate) fn existing(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
            temporaries: Arc::default(),
        }
    }

    /// The positions of the finished snapshots, oldest first. Says nothing about their being intact.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn list(&self) -> Result<Vec<Position>, SnapshotError> {
        let names = match self.disk.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|error| SnapshotError::io(&self.dir, error))?,
        };
        let mut positions: Vec<_> = names.iter().filter_map(|name| parse_name(name)).collect();
        positions.sort_by_key(|position| position.index);
        Ok(positions)
    }

    /// Opens the newest snapshot that is intact and reaches up to the log, which begins after `log_base`. Every byte is
    /// checked. A log that begins at its very beginning needs none.
    ///
    /// # Errors
    /// [`SnapshotError::Unusable`] and [`SnapshotError::Missing`] if none serves, and whatever the disk says.
    pub fn newest(&self, log_base: Position) -> Result<Newest, SnapshotError> {
        let mut damaged = Vec::new();
        for position in self.list()?.into_iter().rev() {
            if position.index < log_base.index {
                break;
            }
            match self.open_checked(position)? {
                Ok(snapshot) => {
                    let snapshot = Some(snapshot);
                    return Ok(Newest { snapshot, damaged });
                }
                Err(damage) => damaged.push(damage),
            }
        }
        if log_base.index == 0 {
            let snapshot = None;
            return Ok(Newest { snapshot, damaged });
        }
        Err(match damaged.into_iter().next() {
            Some(damage) => SnapshotError::Unusable { damage, log_base },
            None => SnapshotError::Missing {
                dir: self.dir.clone(),
                log_base,
            },
        })
    }

    /// Opens the snapshot at `position`. Reading it to its end checks it.
    ///
    /// # Errors
    /// [`SnapshotError::Missing`] if there is none, [`SnapshotError::Unusable`] if it is damaged, and whatever the disk
    /// says.
    pub fn at(&self, position: Position) -> Result<SnapshotReader, SnapshotError> {
        let (dir, log_base) = (self.dir.clone(), position);
        if !self.list()?.contains(&position) {
            return Err(SnapshotError::Missing { dir, log_base });
        }
        let opened = SnapshotReader::open(&*self.disk, &self.dir.join(name(position)))?;
        opened.map_err(|damage| SnapshotError::Unusable { damage, log_base })
    }

    fn open_checked(
        &self,
        position: Position,
    ) -> Result<Result<SnapshotReader, Damage>, SnapshotError> {
        let path = self.dir.join(name(position));
        let mut reader = match SnapshotReader::open(&*self.disk, &path)? {
            Ok(reader) => reader,
            Err(damage) => return Ok(Err(damage)),
        };
        if reader.base.position != position {
            let what = format!("it is of {}, not {position}", reader.base.position);
            return Ok(Err(Damage::new(path, 0, what)));
        }
        Ok(reader.check()?.map(|()| reader))
    }

    /// Begins a snapshot of the state at `base`. It exists once [`SnapshotWriter::finish`] has returned.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn begin(&self, base: &Base) -> Result<SnapshotWriter, SnapshotError> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number:x}.tmp"));
        let file = self.disk.create(&path);
        let file = file.map_err(|error| SnapshotError::io(&path, error))?;
        Ok(self.writer(base, file, path))
    }

    fn writer(&self, base: &Base, file: Arc<dyn DiskFile>, path: PathBuf) -> SnapshotWriter {
        let encoded = base.to_bytes();
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        buffer.put_slice(MAGIC);
        buffer.put_u32_le(FORMAT_VERSION);
        buffer.put_u32_le(encoded.len() as u32);
        buffer.put_u32_le(crc32c::crc32c(&encoded));
        buffer.put_slice(&encoded);
        SnapshotWriter {
            store: self.clone(),
            unfinished: Unfinished {
                disk: self.disk.clone(),
                path: Some(path),
                is_kept: false,
            },
            file,
            base: base.clone(),
            content: buffer.len() as u64,
            written: 0,
            buffer,
            length: 0,
            checksum: 0,
        }
    }

    /// Removes the snapshot at `position`. Those who read it may go on.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn remove(&self, position: Position) -> Result<(), SnapshotError> {
        let path = self.dir.join(name(position));
        let removed = self.disk.remove(&path);
        removed.map_err(|error| SnapshotError::io(&path, error))?;
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(|error| SnapshotError::io(&self.dir, error))
    }

    fn remove_surplus(&self) -> Result<(), SnapshotError> {
        let positions = self.list()?;
        let surplus = positions.len().saturating_sub(KEPT);
        positions[..surplus]
            .iter()
            .try_for_each(|position| self.remove(*position))?;
        // What is arriving and older than a finished one is of no use any more.
        let newest = positions.last().map(|position| name(*position));
        self.remove_parts(|part| newest.as_deref().is_some_and(|newest| part < newest))
    }
}

fn name(position: Position) -> String {
    format!("{:016x}-{:016x}.snapshot", position.index, position.term)
}

fn parse_name(text: &str) -> Option<Position> {
    let (index, term) = text.strip_suffix(".snapshot")?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let position = Position::new(number(index)?, number(term)?);
    (name(position) == text).then_some(position)
}

/// A file that goes away unless it is finished, or kept to be gone on with.
struct Unfinished {
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
    is_kept: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.is_kept) {
            let _the_next_start_removes_it_otherwise = self.disk.remove(path);
        }
    }
}

/// A snapshot being written or received. Dropped before it is finished, it leaves nothing behind, unless it is
/// [received](SnapshotStore::receive).
pub struct SnapshotWriter {
    store: SnapshotStore,
    unfinished: Unfinished,
    file: Arc<dyn DiskFile>,
    base: Base,
    /// Where the content begins in the file.
    content: u64,
    /// How much of the file is written; `buffer` follows.
    written: u64,
    buffer: BytesMut,
    length: u64,
    checksum: u32,
}

impl SnapshotWriter {
    /// What the snapshot covers.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The bytes of content so far: the offset of the piece that is wanted next.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The CRC-32C of the content so far.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Appends to the content.
    ///
    /// # Errors
    /// Whatever the disk says; drop the writer then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.length += bytes.len() as u64;
        self.buffer.put_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES || self.unfinished.is_kept {
            self.write_out()?;
        }
        Ok(())
    }

    /// Takes a received piece that begins at `offset` of the content, and returns the offset wanted next. Of a piece
    /// that came before only the new part is taken; one that leaves a gap is not taken.
    ///
    /// # Errors
    /// As [`SnapshotWriter::write`].
    pub fn piece(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, SnapshotError> {
        let known = self.length.checked_sub(offset);
        let new = known.and_then(|known| bytes.get(usize::try_from(known).ok()?..));
        if let Some(new) = new {
            self.write(new)?;
        }
        Ok(self.length)
    }

    fn write_out(&mut self) -> Result<(), SnapshotError> {
        let written = self.file.write_at(&self.buffer, self.written);
        written.map_err(|error| self.failed(error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn failed(&self, error: io::Error) -> SnapshotError {
        let path = self.unfinished.path.as_deref();
        SnapshotError::io(path.unwrap_or(&self.store.dir), error)
    }

    fn end(&mut self) -> Result<(), SnapshotError> {
        let mut trailer = BytesMut::with_capacity(TRAILER_BYTES);
        trailer.put_u32_le(END_MAGIC);
        trailer.put_u64_le(self.length);
        trailer.put_u32_le(self.checksum);
        trailer.put_u32_le(crc32c::crc32c(&trailer));
        self.buffer.put_slice(&trailer);
        self.write_out()
    }

    /// Makes the snapshot durable under its name, and removes all but the newest two. Only after this may the log be
    /// given up to its base (P43).
    ///
    /// # Errors
    /// Whatever the disk says; the snapshot may then exist or not.
    pub fn finish(mut self) -> Result<Base, SnapshotError> {
        self.end()?;
        let flushed = planted!(P43, Ok(()), self.file.sync_data());
        flushed.map_err(|error| self.failed(error))?;
        let store = self.store.clone();
        let path = store.dir.join(name(self.base.position));
        if let Some(temporary) = &self.unfinished.path {
            let renamed = store.disk.rename(temporary, &path);
            renamed.map_err(|error| SnapshotError::io(&path, error))?;
        }
        self.unfinished.path = None;
        let synced = store.disk.sync_dir(&store.dir);
        synced.map_err(|error| SnapshotError::io(&store.dir, error))?;
        store.remove_surplus()?;
        Ok(self.base)
    }

    /// Ends a snapshot that is made for one reader only: it is never listed or flushed, and goes away with the reader.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn finish_temporary(mut self) -> Result<SnapshotReader, SnapshotError> {
        self.end()?;
        let path = self.unfinished.path.clone().unwrap_or_default();
        Ok(SnapshotReader {
            file: self.file,
            path,
            base: self.base,
            content: self.content,
            length: self.length,
            checksum: self.checksum,
            offset: 0,
            running: 0,
            summed: 0,
            _unfinished: Some(self.unfinished),
        })
    }
}
