//! Small files that are replaced whole: what they are, the format's version, a checksum, and the content.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::FORMAT_VERSION;
use crate::disk::{Disk, read_small};
use crate::error::{Damage, OpenError};

const HEADER_BYTES: usize = 16;

/// What such a file holds. Neither version nor content is to be believed before it is looked whether it is whole.
pub(crate) struct Sealed {
    pub(crate) version: u32,
    /// Whether the checksum matches.
    pub(crate) is_whole: bool,
    pub(crate) content: Bytes,
}

impl Sealed {
    /// The file at `path`, of at most so many bytes; none if there is none. One of another kind is damaged: `stranger`
    /// says how.
    pub(crate) fn read(
        disk: &dyn Disk,
        path: &Path,
        magic: &[u8; 8],
        bytes_max: usize,
        stranger: &str,
    ) -> Result<Option<Self>, OpenError> {
        let bytes = match read_small(disk, path, bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| OpenError::io(path, error))?,
        };
        let mut bytes = Bytes::from(bytes);
        if bytes.len() < HEADER_BYTES || &bytes[..8] != magic {
            return Err(Damage::new(path, 0, stranger).into());
        }
        bytes.advance(8);
        let (version, checksum) = (bytes.get_u32_le(), bytes.get_u32_le());
        Ok(Some(Self {
            version,
            is_whole: crc32c::crc32c(&bytes) == checksum,
            content: bytes,
        }))
    }

    /// The content, if it is whole and of our version.
    pub(crate) fn content(self, path: &Path) -> Result<Bytes, OpenError> {
        match self.version == FORMAT_VERSION && self.is_whole {
            true => Ok(self.content),
            false => Err(Damage::new(path, 0, "its checksum does not match").into()),
        }
    }
}

/// The bytes of such a file.
pub(crate) fn seal(magic: &[u8; 8], content: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + content.len());
    bytes.put_slice(magic);
    bytes.put_u32_le(FORMAT_VERSION);
    bytes.put_u32_le(crc32c::crc32c(content));
    bytes.put_slice(content);
    bytes
}
