//! The frames around what is remembered: a header in front of a segment, and one in front of each batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use crate::FORMAT_VERSION;
use crate::disk::DiskFile;

const SEGMENT_MAGIC: &[u8; 8] = b"LRWALSG\n";
const BATCH_MAGIC: u32 = 0x4254_4c52;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const BATCH_HEADER_BYTES: usize = 40;
/// Batches begin at multiples of this, which makes looking for them in a damaged segment quick.
pub(crate) const ALIGNMENT: usize = 8;

/// A segment's file.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Its size in bytes: all of them reserved.
    pub(crate) bytes: u64,
}

/// Where the chain of batches stands: after the last one flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The number of the next batch.
    pub(crate) next: u64,
    /// The checksum of the last batch's header.
    pub(crate) checksum: u32,
}

/// What stands in front of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: u64,
    /// Where the segment before this one ended; what is behind that was torn off, and means nothing.
    pub(crate) previous_end: u64,
    /// The chain at that end.
    pub(crate) chain: Chain,
}

/// What stands in front of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) identity: u64,
    pub(crate) number: u64,
    pub(crate) length: u32,
    pub(crate) body_checksum: u32,
    pub(crate) previous: u32,
    /// Whether the body begins with the state of every group.
    pub(crate) opening: bool,
    /// The checksum of this header, which covers all of the above.
    pub(crate) checksum: u32,
}

/// What the first bytes of a segment file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    Begun(SegmentHeader),
    /// Nothing of this segment: zeros, what was there before the file was recycled, or a header torn or rotten.
    NotBegun,
    Newer(u32),
}

/// Tells this segment's bytes from those of any other, so that leftovers in a recycled file never validate.
pub(crate) fn segment_identity(incarnation: u64, number: u64) -> u64 {
    // The finaliser of splitmix64: distinct inputs give distinct outputs.
    let mut mixed = incarnation ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(segment_name(number))
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The bytes a batch with a body of `length` takes in the file.
pub(crate) fn batch_bytes(length: usize) -> usize {
    (BATCH_HEADER_BYTES + length).next_multiple_of(ALIGNMENT)
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(SEGMENT_MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.identity);
        out.put_u64_le(self.previous_end);
        out.put_u64_le(self.chain.next);
        out.put_u32_le(self.chain.checksum);
        let checksum = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(mut bytes: &[u8], identity: u64) -> Beginning {
        if bytes.len() < SEGMENT_HEADER_BYTES || &bytes[..8] != SEGMENT_MAGIC {
            return Beginning::NotBegun;
        }
        let sum = crc32c::crc32c(&bytes[16..SEGMENT_HEADER_BYTES]);
        bytes.advance(8);
        let (version, checksum) = (bytes.get_u32_le(), bytes.get_u32_le());
        let header = Self {
            identity: bytes.get_u64_le(),
            previous_end: bytes.get_u64_le(),
            chain: Chain {
                next: bytes.get_u64_le(),
                checksum: bytes.get_u32_le(),
            },
        };
        if checksum != sum || header.identity != identity {
            Beginning::NotBegun
        } else if version > FORMAT_VERSION {
            Beginning::Newer(version)
        } else if version == FORMAT_VERSION {
            Beginning::Begun(header)
        } else {
            Beginning::NotBegun
        }
    }
}

impl BatchHeader {
    /// Writes the header of the body that follows at `begin + BATCH_HEADER_BYTES` into the room left for it.
    /// Returns its checksum.
    pub(crate) fn seal(out: &mut [u8], identity: u64, chain: Chain, opening: bool) -> u32 {
        let (mut header, body) = out.split_at_mut(BATCH_HEADER_BYTES);
        let length = u32::try_from(body.len()).expect("a batch is limited far below 4 GiB");
        let mut rest = BytesMut::with_capacity(BATCH_HEADER_BYTES - 8);
        rest.put_u64_le(identity);
        rest.put_u64_le(chain.next);
        rest.put_u32_le(length);
        rest.put_u32_le(crc32c::crc32c(body));
        rest.put_u32_le(chain.checksum);
        rest.put_u32_le(u32::from(opening));
        let checksum = crc32c::crc32c(&rest);
        header.put_u32_le(BATCH_MAGIC);
        header.put_u32_le(checksum);
        header.put_slice(&rest);
        checksum
    }

    /// The header at the start of `bytes`, if it is a whole one of this segment.
    pub(crate) fn parse(mut bytes: &[u8], identity: u64) -> Option<Self> {
        if bytes.len() < BATCH_HEADER_BYTES || bytes.get_u32_le() != BATCH_MAGIC {
            return None;
        }
        let checksum = bytes.get_u32_le();
        if crc32c::crc32c(&bytes[..BATCH_HEADER_BYTES - 8]) != checksum {
            return None;
        }
        let header = Self {
            identity: bytes.get_u64_le(),
            number: bytes.get_u64_le(),
            length: bytes.get_u32_le(),
            body_checksum: bytes.get_u32_le(),
            previous: bytes.get_u32_le(),
            opening: match bytes.get_u32_le() {
                0 => false,
                1 => true,
                _ => return None,
            },
            checksum,
        };
        (header.identity == identity).then_some(header)
    }

    /// Whether `bytes` look as if a batch of this segment had been begun here.
    pub(crate) fn resembles(bytes: &[u8], identity: u64) -> bool {
        bytes.starts_with(&BATCH_MAGIC.to_le_bytes()) || Self::is_of(bytes, identity)
    }

    /// Whether what looks like a batch names this segment as its own.
    pub(crate) fn is_of(bytes: &[u8], identity: u64) -> bool {
        let named = bytes.get(8..16);
        named.is_some_and(|named| named == identity.to_le_bytes())
    }
}
