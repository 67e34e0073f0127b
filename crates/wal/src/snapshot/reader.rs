//! Reading a snapshot.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use little_raft_core::{Base, Codec};

use super::{
    BASE_BYTES_MAX, BUFFER_BYTES, END_MAGIC, HEADER_BYTES, MAGIC, SnapshotError, TRAILER_BYTES,
    Unfinished,
};
use crate::FORMAT_VERSION;
use crate::disk::{Disk, DiskFile};
use crate::error::Damage;

/// Reads a snapshot's content from its beginning, checking it on the way: the read that reaches the end fails with
/// [`io::ErrorKind::InvalidData`] if any byte was not what had been written.
pub struct SnapshotReader {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) base: Base,
    pub(super) content: u64,
    pub(super) length: u64,
    pub(super) checksum: u32,
    pub(super) offset: u64,
    /// The checksum of the content up to `summed`.
    pub(super) running: u32,
    pub(super) summed: u64,
    pub(super) _unfinished: Option<Unfinished>,
}

impl SnapshotReader {
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<Result<Self, Damage>, SnapshotError> {
        let failed = |error| SnapshotError::io(path, error);
        let damaged = |offset, what: &str| Ok(Err(Damage::new(path, offset, what)));
        let file = disk.open(path).map_err(failed)?;
        let bytes = file.length().map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        let filled = file.read_at(&mut header, 0).map_err(failed)?;
        if filled < HEADER_BYTES || &header[..8] != MAGIC {
            return damaged(0, "it does not begin like a snapshot");
        }
        let mut header = &header[8..];
        let (version, length, checksum) = (
            header.get_u32_le(),
            header.get_u32_le(),
            header.get_u32_le(),
        );
        let frame = (HEADER_BYTES + TRAILER_BYTES) as u64;
        if length as usize > BASE_BYTES_MAX || u64::from(length) + frame > bytes {
            return damaged(0, "its header makes no sense");
        }
        let mut base = vec![0; length as usize];
        let filled = file
            .read_at(&mut base, HEADER_BYTES as u64)
            .map_err(failed)?;
        if filled < base.len() || crc32c::crc32c(&base) != checksum {
            return damaged(HEADER_BYTES as u64, "the header's checksum does not match");
        }
        if version > FORMAT_VERSION {
            let (file, found) = (path.to_path_buf(), version);
            return Err(SnapshotError::NewerFormat { file, found });
        }
        let Ok(base) = Base::from_bytes(Bytes::from(base)) else {
            return damaged(HEADER_BYTES as u64, "the header makes no sense");
        };
        let mut trailer = [0; TRAILER_BYTES];
        let place = bytes - TRAILER_BYTES as u64;
        file.read_at(&mut trailer, place).map_err(failed)?;
        let sum = crc32c::crc32c(&trailer[..TRAILER_BYTES - 4]);
        let mut trailer = &trailer[..];
        let magic = trailer.get_u32_le();
        let (content_length, content_sum) = (trailer.get_u64_le(), trailer.get_u32_le());
        let content = HEADER_BYTES as u64 + u64::from(length);
        let fits = content.checked_add(content_length) == Some(place);
        if magic != END_MAGIC || trailer.get_u32_le() != sum || !fits {
            return damaged(place, "it does not end like a snapshot");
        }
        Ok(Ok(Self {
            file,
            path: path.to_path_buf(),
            base,
            content,
            length: content_length,
            checksum: content_sum,
            offset: 0,
            running: 0,
            summed: 0,
            _unfinished: None,
        }))
    }

    /// What the snapshot covers.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The bytes of its content.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The content from `offset` on, at most `bytes_max` of it; the last piece ends at [`SnapshotReader::length`].
    /// Pieces asked for in order are checked: the last one fails if any byte was not what had been written.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn piece(&mut self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let left = self.length.saturating_sub(offset);
        let mut bytes = vec![0; (bytes_max as u64).min(left) as usize];
        if offset == 0 {
            self.rewind();
        }
        if offset == self.offset {
            self.read_exact(&mut bytes)?;
        } else {
            let place = self.content.saturating_add(offset);
            let filled = self.file.read_at(&mut bytes, place)?;
            bytes.truncate(filled);
        }
        Ok(Bytes::from(bytes))
    }

    fn rewind(&mut self) {
        (self.offset, self.running, self.summed) = (0, 0, 0);
    }

    /// Reads all of it, and goes back to the beginning.
    pub(super) fn check(&mut self) -> Result<Result<(), Damage>, SnapshotError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let checked = loop {
            match self.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    break Err(Damage::new(
                        &self.path,
                        self.content,
                        "its checksum does not match",
                    ));
                }
                Err(error) => return Err(SnapshotError::io(&self.path, error)),
            }
        };
        self.rewind();
        Ok(checked)
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.offset);
        let wanted = (buffer.len() as u64).min(left) as usize;
        let buffer = &mut buffer[..wanted];
        let count = self.file.read_at(buffer, self.content + self.offset)?;
        if self.summed == self.offset {
            self.running = crc32c::crc32c_append(self.running, &buffer[..count]);
            self.summed += count as u64;
        }
        self.offset += count as u64;
        let is_wrong = self.summed == self.length && self.running != self.checksum;
        if is_wrong || count < wanted {
            let what = format!("snapshot {} is damaged", self.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(count)
    }
}

/// What is read after a seek is checked no more, unless it was to the beginning.
impl Seek for SnapshotReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
        };
        let at = at.filter(|at| *at <= self.length);
        let at = at.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "it is outside of the snapshot")
        })?;
        match at {
            0 => self.rewind(),
            _ => self.offset = at,
        }
        Ok(at)
    }
}
