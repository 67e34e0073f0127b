//! A backup's file: the store's snapshot, zeros up to a multiple of 512 bytes, and the SHA-256 of all before it. That is
//! the frame of etcd's own, by which its clients tell a whole one; what is in it is not etcd's.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use little_raft::Snapshot;
use sha2::{Digest, Sha256};

use crate::store::{StoreView, Summary, summary};

const BLOCK_BYTES: u64 = 512;
const HASH_BYTES: u64 = 32;
const BUFFER_BYTES: usize = 256 << 10;

/// What there is to say about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Of the store.
    pub summary: Summary,
    /// How long the file is.
    pub bytes: u64,
}

/// Writes a whole file.
///
/// # Errors
/// If the store can't be read, or `out` can't be written.
pub fn write(view: &mut StoreView, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Hashed {
        inner: out,
        hash: Sha256::new(),
        bytes: 0,
    };
    view.write_to(&mut out)?;
    let padding = out.bytes.next_multiple_of(BLOCK_BYTES) - out.bytes;
    out.write_all(&vec![0; padding as usize])?;
    let hash = out.hash.finalize();
    out.inner.write_all(&hash)
}

/// Reads a file to its end, and checks all of it.
///
/// # Errors
/// If it can't be read, is no backup, is cut off, or is damaged.
pub fn check(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes % BLOCK_BYTES != HASH_BYTES {
        return Err(damaged("it is no backup, or not all of one"));
    }
    let mut whole = BufReader::with_capacity(BUFFER_BYTES, &mut file).take(bytes - HASH_BYTES);
    let mut hash = Sha256::new();
    io::copy(&mut whole, &mut hash)?;
    let mut expected = Vec::new();
    whole.into_inner().read_to_end(&mut expected)?;
    if hash.finalize()[..] != expected[..] {
        return Err(damaged("its SHA-256 is wrong"));
    }
    file.rewind()?;
    let summary = summary(&mut BufReader::with_capacity(BUFFER_BYTES, file))?;
    Ok(Content { summary, bytes })
}

/// Opens a file that was [checked](check), to be read by the store.
///
/// # Errors
/// If it can't be opened.
pub fn open(path: &Path) -> io::Result<impl Read> {
    let file = File::open(path)?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Hashed<'a> {
    inner: &'a mut dyn Write,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
