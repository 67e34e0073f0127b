//! The whole store as a stream of bytes, for replicas that lag too far behind.
//!
//! Magic, revision, compacted revision, history checksum, length and stored form of the members' attributes; then each record as length, revision, stored form; then a
//! zero length and the CRC-32C of all before it. Integers little-endian.

use std::io::{self, Read, Write};
use std::sync::Arc;

use little_raft::Snapshot;

use super::attributes::{self, Attributes};
use super::disk::{DiskView, DiskWrite, Point};
use super::record::{Record, Revision};
use super::state::State;

const MAGIC: &[u8; 8] = b"lr-kv\0\0\x02";
/// The same without attributes.
const MAGIC_1: &[u8; 8] = b"lr-kv\0\0\x01";
/// A kilobyte for each of thousands of members.
const ATTRIBUTES_BYTES_MAX: usize = 16 << 20;
/// Far above any request limit; guards the allocation.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Records are written to disk in portions of this size.
const PORTION_BYTES: usize = 4 << 20;

/// A consistent view of the store.
pub struct StoreView {
    view: DiskView,
    /// What wasn't on disk yet.
    recent: Vec<(Revision, Record)>,
    revision: i64,
    compacted: i64,
    history: u32,
    attributes: Arc<Attributes>,
}

impl StoreView {
    /// Only what is committed: a batch may be under way.
    pub(super) fn committed(state: &State, view: DiskView) -> Self {
        let committed = &state.committed;
        let recent = state.recent.iter();
        let recent = recent.take_while(|(written, _)| written.main <= committed.revision);
        Self {
            view,
            recent: recent.cloned().collect(),
            revision: committed.revision,
            compacted: committed.compacted,
            history: committed.history,
            attributes: committed.attributes.clone(),
        }
    }

    /// The newest revision in it.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn new(state: &State, view: DiskView) -> Self {
        Self {
            view,
            recent: state.recent.iter().cloned().collect(),
            revision: state.revision,
            compacted: state.compacted,
            history: state.history,
            attributes: state.attributes.clone(),
        }
    }

    fn each(&self, each: &mut dyn FnMut(Revision, &Record) -> io::Result<()>) -> io::Result<()> {
        let first_recent = self.recent.first().map(|(revision, _)| *revision);
        self.view.scan(&mut |revision, record| {
            // A record can be in both while it is being forgotten in memory.
            if first_recent.is_none_or(|first| revision < first) {
                each(revision, &record)?;
            }
            Ok(())
        })?;
        self.recent
            .iter()
            .try_for_each(|(revision, record)| each(*revision, record))
    }
}

impl Snapshot for StoreView {
    fn write_to(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Summed { inner: out, crc: 0 };
        out.write_all(MAGIC)?;
        out.write_all(&self.revision.to_le_bytes())?;
        out.write_all(&self.compacted.to_le_bytes())?;
        out.write_all(&self.history.to_le_bytes())?;
        let attributes = attributes::encode(&self.attributes);
        out.write_all(&(attributes.len() as u32).to_le_bytes())?;
        out.write_all(&attributes)?;
        let mut stored = Vec::new();
        self.each(&mut |revision, record| {
            stored.clear();
            record.encode(revision, &mut stored);
            out.write_all(&(stored.len() as u32).to_le_bytes())?;
            out.write_all(&revision.main.to_le_bytes())?;
            out.write_all(&revision.sub.to_le_bytes())?;
            out.write_all(&stored)
        })?;
        out.write_all(&0u32.to_le_bytes())?;
        let crc = out.crc;
        out.write_all(&crc.to_le_bytes())
    }
}

/// Reads a snapshot into an open write, and returns the state that belongs to it. The write's commit makes it real.
pub(super) fn read(snapshot: &mut dyn Read, write: &DiskWrite) -> io::Result<State> {
    let reading = Reading::begin(snapshot)?;
    let mut state = State::at(reading.point.clone());
    write.clear().map_err(io::Error::other)?;
    let mut portion = Vec::new();
    let mut portion_bytes = 0;
    reading.each(|revision, record| {
        portion_bytes += record.bytes();
        state.insert(revision, &record);
        portion.push((revision, record));
        if portion_bytes >= PORTION_BYTES {
            write.insert(&portion).map_err(io::Error::other)?;
            portion.clear();
            portion_bytes = 0;
        }
        Ok(())
    })?;
    write.insert(&portion).map_err(io::Error::other)?;
    Ok(state)
}

/// What there is to say about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The CRC-32C over all of it.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// How many versions of keys it has.
    pub records: u64,
}

/// Reads a snapshot to its end, and checks all of it.
///
/// # Errors
/// If it can't be read, or is damaged.
pub fn summary(snapshot: &mut dyn Read) -> io::Result<Summary> {
    let reading = Reading::begin(snapshot)?;
    let revision = reading.point.revision;
    let mut records = 0;
    let hash = reading.each(|_, _| {
        records += 1;
        Ok(())
    })?;
    Ok(Summary {
        hash,
        revision,
        records,
    })
}

/// A snapshot that is read as far as its records.
struct Reading<'a> {
    snapshot: Summed<&'a mut dyn Read>,
    point: Point,
}

impl<'a> Reading<'a> {
    fn begin(snapshot: &'a mut dyn Read) -> io::Result<Self> {
        let mut snapshot = Summed {
            inner: snapshot,
            crc: 0,
        };
        let magic = snapshot.array::<8>()?;
        if ![MAGIC, MAGIC_1].contains(&&magic) {
            return Err(invalid("it doesn't begin like a snapshot of this store"));
        }
        let mut point = Point {
            revision: i64::from_le_bytes(snapshot.array()?),
            compacted: i64::from_le_bytes(snapshot.array()?),
            history: u32::from_le_bytes(snapshot.array()?),
            ..Point::default()
        };
        if &magic == MAGIC {
            point.attributes = read_attributes(&mut snapshot)?.into();
        }
        Ok(Self { snapshot, point })
    }

    /// Gives each record, and returns the checksum over all.
    fn each(mut self, mut give: impl FnMut(Revision, Record) -> io::Result<()>) -> io::Result<u32> {
        let mut previous = Revision::default();
        while let Some((revision, record)) = read_record(&mut self.snapshot)? {
            if revision <= previous || revision.main > self.point.revision {
                return Err(invalid("its records are out of order"));
            }
            previous = revision;
            give(revision, record)?;
        }
        let expected = self.snapshot.crc;
        if u32::from_le_bytes(self.snapshot.array()?) != expected {
            return Err(invalid("its checksum is wrong"));
        }
        Ok(expected)
    }
}

fn read_attributes(snapshot: &mut Summed<&mut dyn Read>) -> io::Result<Attributes> {
    let length = u32::from_le_bytes(snapshot.array()?) as usize;
    if length > ATTRIBUTES_BYTES_MAX {
        return Err(invalid("its record of the members is too long"));
    }
    let mut stored = Vec::new();
    snapshot.take(length as u64).read_to_end(&mut stored)?;
    attributes::decode(&stored)
        .ok_or_else(|| invalid("its record of the members has a wrong checksum"))
}

fn read_record(snapshot: &mut Summed<&mut dyn Read>) -> io::Result<Option<(Revision, Record)>> {
    let length = u32::from_le_bytes(snapshot.array()?) as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > RECORD_BYTES_MAX {
        return Err(invalid("one of its records is too long"));
    }
    let revision = Revision {
        main: i64::from_le_bytes(snapshot.array()?),
        sub: u32::from_le_bytes(snapshot.array()?),
    };
    let mut stored = Vec::new();
    snapshot.take(length as u64).read_to_end(&mut stored)?;
    let record = Record::decode(revision, &stored)
        .ok_or_else(|| invalid("one of its records has a wrong checksum"))?;
    Ok(Some((revision, record)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the snapshot is damaged: {what}"),
    )
}

/// Sums up what passes through.
struct Summed<T> {
    inner: T,
    crc: u32,
}

impl Summed<&mut dyn Read> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Summed<&mut dyn Read> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &buffer[..count]);
        Ok(count)
    }
}

impl Write for Summed<&mut dyn Write> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
