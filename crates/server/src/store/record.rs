//! One version of a key, in memory and on disk.

use bytes::Bytes;

use crate::proto::mvccpb::KeyValue;

/// Which write: the store's revision, and the place within one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Rises by one with each writing request.
    pub main: i64,
    /// Counts the writes of one request from zero.
    pub sub: u32,
}

/// One version of one key. A deleted key has a version too, its tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a tombstone.
    pub value: Bytes,
    /// The revision at which the key was last created; 0 in a tombstone.
    pub create: i64,
    /// The number of writes since then; 0 in a tombstone.
    pub version: i64,
    /// The lease it is bound to, or 0.
    pub lease: i64,
}

const HEADER_BYTES: usize = 4 + 8 + 8 + 8 + 4;

impl Record {
    /// The record of a deletion.
    pub fn tombstone(key: Bytes) -> Self {
        Self {
            key,
            value: Bytes::new(),
            create: 0,
            version: 0,
            lease: 0,
        }
    }

    /// What it counts for in the quota.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.key.len() + self.value.len()
    }

    /// As clients see it.
    pub fn key_value(&self, revision: Revision) -> KeyValue {
        KeyValue {
            key: self.key.clone(),
            create_revision: self.create,
            mod_revision: revision.main,
            version: self.version,
            value: self.value.clone(),
            lease: self.lease,
        }
    }

    /// Appends the stored form: CRC-32C of revision and all that follows, create revision, version, lease, key
    /// length, key, value; integers little-endian.
    pub fn encode(&self, revision: Revision, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.create.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.lease.to_le_bytes());
        let key_length =
            u32::try_from(self.key.len()).expect("requests are far smaller than 4 GiB");
        out.extend_from_slice(&key_length.to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.value);
        let checksum = checksum(revision, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is not that, or belongs to another revision.
    pub fn decode(revision: Revision, stored: &[u8]) -> Option<Self> {
        let (expected, rest) = stored.split_first_chunk::<4>()?;
        if checksum(revision, rest) != u32::from_le_bytes(*expected) {
            return None;
        }
        let (create, rest) = rest.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (lease, rest) = rest.split_first_chunk::<8>()?;
        let (key_length, rest) = rest.split_first_chunk::<4>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        Some(Self {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
            create: i64::from_le_bytes(*create),
            version: i64::from_le_bytes(*version),
            lease: i64::from_le_bytes(*lease),
        })
    }
}

/// The revision is part of it, so that a record in the wrong place is noticed.
fn checksum(revision: Revision, rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&revision.main.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &revision.sub.to_le_bytes());
    crc32c::crc32c_append(crc, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_any_flipped_bit_is_noticed() {
        let revision = Revision { main: 7, sub: 2 };
        let record = Record {
            key: Bytes::from_static(b"key"),
            value: Bytes::from_static(b"value"),
            create: 3,
            version: 4,
            lease: 5,
        };
        let mut stored = Vec::new();
        record.encode(revision, &mut stored);
        assert_eq!(Record::decode(revision, &stored), Some(record));
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(revision, &damaged), None, "bit {bit}");
        }
        for length in 0..stored.len() {
            assert_eq!(Record::decode(revision, &stored[..length]), None);
        }
        assert_eq!(Record::decode(Revision { main: 8, sub: 2 }, &stored), None);
    }
}
