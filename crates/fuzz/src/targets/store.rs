//! The store as a snapshot from a peer, and as a file of its own: damaged, checksums made right again or not.

use std::path::{Path, PathBuf};

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft::core::Position;
use little_raft::{Entry, LibraryState, Snapshot, StateMachine};
use little_raft_server::proto::etcdserverpb::RangeRequest;
use little_raft_server::store::{Store, encode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::memory::within;
use crate::mutate::{mutate, number_at, put_checksum};
use crate::requests::command;

const COMMANDS_MAX: usize = 12;
const BYTES_A_BYTE: usize = 64;
/// What the store's file takes in memory for itself.
const SLACK_BYTES: usize = 16 << 20;
const RECORDS: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

fn fill(u: &mut Unstructured<'_>, store: &mut Store) -> Result<()> {
    for index in 1..=u.int_in_range(1..=COMMANDS_MAX as u64)? {
        let encoded = encode(command(u)?);
        let position = Position::new(index, 1);
        drop(store.apply(Entry::new(position, 1, &encoded)));
        let committed = store.commit(position, &LibraryState(Bytes::from_static(b"library")));
        committed.expect("it knows all commands");
    }
    Ok(())
}

/// Reads all that there is.
fn use_store(store: &Store) {
    let all = RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..RangeRequest::default()
    };
    drop(store.reader().range(&all));
    drop(store.reader().hash());
    drop(store.flush());
}

pub fn run_snapshots(u: &mut Unstructured<'_>) -> Result<()> {
    let mut store = Store::in_memory().expect("memory will do");
    fill(u, &mut store)?;
    let mut snapshot = Vec::new();
    let written = store
        .snapshot()
        .and_then(|mut it| it.write_to(&mut snapshot));
    written.expect("memory will do");
    mutate(u, &mut snapshot)?;
    if u.ratio(3, 4)? {
        mend_snapshot(&mut snapshot);
    }
    let bound = BYTES_A_BYTE * snapshot.len() + SLACK_BYTES;
    within(bound, || {
        let mut other = Store::in_memory().expect("memory will do");
        if other.restore(&mut &snapshot[..]).is_ok() {
            let upto = Position::new(100, 1);
            let committed = other.commit(upto, &LibraryState::default());
            committed.expect("memory will do");
        }
        use_store(&other);
    });
    Ok(())
}

/// Makes the checksums of attributes, records and the whole right, as far as they can be told apart.
fn mend_snapshot(bytes: &mut [u8]) {
    const HEAD: usize = 8 + 8 + 8 + 4;
    let mut at = HEAD + 4;
    let attributes = number_at(bytes, HEAD) as usize;
    if let Some(end) = at.checked_add(attributes).filter(|end| *end >= at + 4) {
        put_checksum(bytes, end - 4, at..end - 4);
        at = end;
    }
    loop {
        let length = number_at(bytes, at) as usize;
        let begin = at.saturating_add(4);
        if length == 0 || begin >= bytes.len() {
            break;
        }
        // The checksum of a record covers its revision, which stands before it.
        let (record, end) = (begin + 12, begin.saturating_add(12).saturating_add(length));
        let (Some(revision), Some(rest)) = (bytes.get(begin..record), bytes.get(record + 4..end))
        else {
            break;
        };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(revision), rest);
        bytes[record..record + 4].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    put_checksum(
        bytes,
        at.saturating_add(4),
        0..at.saturating_add(4).min(bytes.len()),
    );
}

pub fn run_file(u: &mut Unstructured<'_>) -> Result<()> {
    let file = File::new();
    let mut store = Store::open(&file.0).expect("there is room");
    fill(u, &mut store)?;
    store.flush().expect("there is room");
    drop(store);
    damage(u, &file)?;
    within(SLACK_BYTES, || {
        if let Ok(store) = Store::open(&file.0) {
            use_store(&store);
        }
    });
    Ok(())
}

/// Damages a stored value or two, of records or of what is known about them.
fn damage(u: &mut Unstructured<'_>, file: &File) -> Result<()> {
    let database = Database::open(&file.0).expect("it is intact");
    let mut values = Values::read(&database);
    for _ in 0..u.int_in_range(1..=2)? {
        let mend = u.ratio(3, 4)?;
        let meta = values.records.is_empty() || u.ratio(1, 3)?;
        if meta {
            let which = u.choose_index(values.meta.len())?;
            let value = &mut values.meta[which].1;
            mutate(u, value)?;
            if let Some(end) = value.len().checked_sub(4).filter(|_| mend) {
                put_checksum(value, end, 0..end);
            }
        } else {
            let which = u.choose_index(values.records.len())?;
            let ((main, sub), value) = &mut values.records[which];
            mutate(u, value)?;
            if mend && value.len() >= 4 {
                let sum = crc32c::crc32c(&main.to_le_bytes());
                let sum = crc32c::crc32c_append(sum, &sub.to_le_bytes());
                let sum = crc32c::crc32c_append(sum, &value[4..]);
                value[..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
    values.write(&database);
    Ok(())
}

/// All that a store's file holds.
struct Values {
    records: Vec<((i64, u32), Vec<u8>)>,
    meta: Vec<(String, Vec<u8>)>,
}

impl Values {
    fn read(database: &Database) -> Self {
        let read = database.begin_read().expect("it is intact");
        let records = read.open_table(RECORDS).expect("it is there");
        let meta = read.open_table(META).expect("it is there");
        let records = records.iter().expect("it is intact").map(|record| {
            let (revision, value) = record.expect("it is intact");
            (revision.value(), value.value().to_vec())
        });
        let meta = meta.iter().expect("it is intact").map(|named| {
            let (name, value) = named.expect("it is intact");
            (name.value().to_owned(), value.value().to_vec())
        });
        Self {
            records: records.collect(),
            meta: meta.collect(),
        }
    }

    fn write(&self, database: &Database) {
        let write = database.begin_write().expect("there is room");
        {
            let mut records = write.open_table(RECORDS).expect("it is there");
            for (revision, value) in &self.records {
                records.insert(revision, &value[..]).expect("there is room");
            }
            let mut meta = write.open_table(META).expect("it is there");
            for (name, value) in &self.meta {
                meta.insert(&name[..], &value[..]).expect("there is room");
            }
        }
        write.commit().expect("there is room");
    }
}

/// One that goes away with its owner; in memory, where there is such a place, for the many times that it is flushed.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        let name = format!("little-raft-fuzz-{}.redb", std::process::id());
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => memory.into(),
            false => std::env::temp_dir(),
        };
        let path = folder.join(name);
        drop(std::fs::remove_file(&path));
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
