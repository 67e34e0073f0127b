//! Which segments must exist: two slots of one small file, written in turn, so that a full disk can't stop its change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::FORMAT_VERSION;
use crate::disk::{Disk, DiskFile, read_small, replace};
use crate::error::{Damage, OpenError};
use crate::identity::newer;

const NAME: &str = "manifest";
const MAGIC: &[u8; 8] = b"LRMANIF\n";
const SLOT_BYTES: usize = 4096;
const USED_BYTES: usize = 48;

/// What must be there. Invariant: `first <= last`, and both only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The oldest segment.
    pub(crate) first: u64,
    /// The newest; it alone may be prepared and not begun yet.
    pub(crate) last: u64,
}

pub(crate) struct Manifest {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    incarnation: u64,
    /// Rises by one with each change; the change goes into slot `generation % 2`.
    generation: u64,
    listed: Listed,
}

impl Manifest {
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        incarnation: u64,
        listed: Listed,
    ) -> io::Result<Self> {
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        bytes[..USED_BYTES].copy_from_slice(&slot(incarnation, 0, listed));
        replace(disk, dir, NAME, &bytes)?;
        let path = dir.join(NAME);
        Ok(Self {
            file: disk.open(&path)?,
            path,
            incarnation,
            generation: 0,
            listed,
        })
    }

    /// The newest valid slot. The other one may be the torn change of a crash, which nothing was built on.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, incarnation: u64) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        let bytes = match read_small(disk, &path, 2 * SLOT_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Damage::new(path, 0, "the file is missing").into());
            }
            other => other.map_err(|error| OpenError::io(&path, error))?,
        };
        let mut newest: Option<(u64, Listed)> = None;
        for begin in [0, SLOT_BYTES] {
            let Some(bytes) = bytes.get(begin..begin + USED_BYTES) else {
                continue;
            };
            let found = parse(bytes, incarnation).map_err(|version| newer(&path, version))?;
            newest = [newest, found]
                .into_iter()
                .flatten()
                .max_by_key(|slot| slot.0);
        }
        let Some((generation, listed)) = newest else {
            return Err(Damage::new(path, 0, "neither of its two slots is valid").into());
        };
        let file = disk
            .open(&path)
            .map_err(|error| OpenError::io(&path, error))?;
        Ok(Self {
            file,
            path,
            incarnation,
            generation,
            listed,
        })
    }

    pub(crate) fn listed(&self) -> Listed {
        self.listed
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lists these from now on, durably. After an error nobody knows which list holds: the log must close (rule 2).
    pub(crate) fn change(&mut self, listed: Listed) -> io::Result<()> {
        assert!(
            listed.first >= self.listed.first && listed.last >= self.listed.last,
            "the list of segments went back from {:?} to {listed:?}",
            self.listed
        );
        self.generation += 1;
        self.listed = listed;
        self.write()
    }

    /// Writes what was loaded again, and flushes it: a killed process can have left it in the machine's memory alone.
    pub(crate) fn vouch_again(&self) -> io::Result<()> {
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let offset = (self.generation % 2) * SLOT_BYTES as u64;
        let slot = slot(self.incarnation, self.generation, self.listed);
        self.file.write_at(&slot, offset)?;
        self.file.sync_data()
    }
}

fn slot(incarnation: u64, generation: u64, listed: Listed) -> BytesMut {
    let mut body = BytesMut::with_capacity(32);
    body.put_u64_le(incarnation);
    body.put_u64_le(generation);
    body.put_u64_le(listed.first);
    body.put_u64_le(listed.last);
    let mut bytes = BytesMut::with_capacity(USED_BYTES);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(FORMAT_VERSION);
    bytes.put_u32_le(crc32c::crc32c(&body));
    bytes.put_slice(&body);
    bytes
}

/// The slot's generation and list, nothing if it is not valid, or the version if that is newer than ours.
fn parse(bytes: &[u8], incarnation: u64) -> Result<Option<(u64, Listed)>, u32> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    if &bytes[..8] != MAGIC {
        return Ok(None);
    }
    bytes.advance(8);
    let (version, checksum) = (bytes.get_u32_le(), bytes.get_u32_le());
    let valid = crc32c::crc32c(&bytes) == checksum && bytes.get_u64_le() == incarnation;
    if version > FORMAT_VERSION && valid {
        return Err(version);
    }
    let generation = bytes.get_u64_le();
    let listed = Listed {
        first: bytes.get_u64_le(),
        last: bytes.get_u64_le(),
    };
    let sound = valid && version == FORMAT_VERSION && listed.first <= listed.last;
    Ok(sound.then_some((generation, listed)))
}
