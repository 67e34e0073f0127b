//! The store's file: a redb database with a table of records by revision and a table that says how far it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use little_raft::LibraryState;
use little_raft::core::Position;
use redb::{
    Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction,
};
use rustix::fs::statvfs;

use super::attributes::{self, Attributes};
use super::error::StoreError;
use super::record::{Record, Revision};

const RECORDS: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const POINT: &str = "point";
const ATTRIBUTES: &str = "attributes";
const FORMAT: u32 = 1;
/// redb's own default is 1 GiB, too much for three replicas on a laptop.
const CACHE_BYTES: usize = 128 << 20;

/// Below every revision that a compaction may name: even 0 can be compacted once, as in etcd.
pub const NEVER_COMPACTED: i64 = -1;

/// How far the store is: stored with the records, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The last entry of the log that is in it.
    pub position: Position,
    /// What the library wants to find again.
    pub library: LibraryState,
    /// The newest revision.
    pub revision: i64,
    /// Reads below this revision are refused.
    pub compacted: i64,
    /// A checksum over all writes ever, the same on every replica at one revision.
    pub history: u32,
    /// What the members say of themselves. In a record of its own: files from before have none.
    pub attributes: Arc<Attributes>,
}

impl Default for Point {
    /// An empty store is at revision 1, as etcd's is.
    fn default() -> Self {
        Self {
            position: Position::default(),
            library: LibraryState::default(),
            revision: 1,
            compacted: NEVER_COMPACTED,
            history: 0,
            attributes: Arc::default(),
        }
    }
}

impl Point {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.library.0.len());
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.position.index.to_le_bytes());
        out.extend_from_slice(&self.position.term.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.compacted.to_le_bytes());
        out.extend_from_slice(&self.history.to_le_bytes());
        out.extend_from_slice(&self.library.0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (body, checksum) = stored.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (_format, body) = body.split_first_chunk::<4>()?;
        let (index, body) = body.split_first_chunk::<8>()?;
        let (term, body) = body.split_first_chunk::<8>()?;
        let (revision, body) = body.split_first_chunk::<8>()?;
        let (compacted, body) = body.split_first_chunk::<8>()?;
        let (history, library) = body.split_first_chunk::<4>()?;
        Some(Self {
            position: Position::new(u64::from_le_bytes(*index), u64::from_le_bytes(*term)),
            library: LibraryState(Bytes::copy_from_slice(library)),
            revision: i64::from_le_bytes(*revision),
            compacted: i64::from_le_bytes(*compacted),
            history: u32::from_le_bytes(*history),
            attributes: Arc::default(),
        })
    }

    fn format(stored: &[u8]) -> Option<u32> {
        stored
            .first_chunk::<4>()
            .map(|format| u32::from_le_bytes(*format))
    }
}

/// The database file.
#[derive(Debug)]
pub struct Disk {
    database: Database,
    full: AtomicBool,
    path: PathBuf,
}

/// A consistent view of the file.
pub struct DiskView {
    records: redb::ReadOnlyTable<(i64, u32), &'static [u8]>,
}

/// Changes that take effect together, or not at all.
pub struct DiskWrite {
    transaction: WriteTransaction,
    path: PathBuf,
}

impl Disk {
    /// Opens the database, or makes an empty one.
    ///
    /// # Errors
    /// If it is in use, damaged, or of a newer format, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder
            .create(path)
            .map_err(|error| open_error(path, error))?;
        Self::with(database, path)
    }

    /// Opens the database that `backend` holds, or makes an empty one in it. Errors call it `path`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn on(path: &Path, backend: impl StorageBackend) -> Result<Self, StoreError> {
        let database = Database::builder()
            .create_with_backend(backend)
            .map_err(|error| open_error(path, error))?;
        Self::with(database, path)
    }

    fn with(database: Database, path: &Path) -> Result<Self, StoreError> {
        let disk = Self {
            database,
            full: AtomicBool::new(false),
            path: path.to_owned(),
        };
        let write = disk.write()?;
        // Tables must exist before they can be read.
        write.create_tables()?;
        write.commit_tables()?;
        Ok(disk)
    }

    /// How far the file is.
    ///
    /// # Errors
    /// If it can't be read, is damaged or of a newer format.
    pub fn point(&self) -> Result<Point, StoreError> {
        let read = |name| self.read_meta(name).map_err(|error| self.io("read", error));
        let Some(stored) = read(POINT)? else {
            return Ok(Point::default());
        };
        let mut point = self.decode_point(&stored)?;
        if let Some(stored) = read(ATTRIBUTES)? {
            let damaged = || self.damaged("its record of the members has a wrong checksum".into());
            point.attributes = attributes::decode(&stored).ok_or_else(damaged)?.into();
        }
        Ok(point)
    }

    fn decode_point(&self, stored: &[u8]) -> Result<Point, StoreError> {
        match Point::format(stored) {
            Some(found) if found > FORMAT => Err(StoreError::NewerFormat {
                path: self.path.clone(),
                found,
                known: FORMAT,
            }),
            _ => Point::decode(stored)
                .ok_or_else(|| self.damaged("its state record has a wrong checksum".into())),
        }
    }

    fn read_meta(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(META)?;
        Ok(table.get(name)?.map(|stored| stored.value().to_vec()))
    }

    /// A view of the file as it is now.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn view(&self) -> Result<DiskView, StoreError> {
        let open =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(RECORDS)?) };
        let records = open().map_err(|error| self.io("read", error))?;
        Ok(DiskView { records })
    }

    /// Begins changes; waits for those under way.
    ///
    /// # Errors
    /// If an earlier write failed.
    pub fn write(&self) -> Result<DiskWrite, StoreError> {
        let mut transaction = self
            .database
            .begin_write()
            .map_err(|error| self.io("write", error.into()))?;
        // Else a crash costs a walk through the whole file at the next start.
        transaction.set_quick_repair(true);
        Ok(DiskWrite {
            transaction,
            path: self.path.clone(),
        })
    }

    /// The file's size.
    pub fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Whether the disk was too full for what was to be written when it was looked at last.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Looks whether the disk has less space than so many bytes.
    pub fn lacks_space(&self, bytes: u64) -> bool {
        // What can't be asked isn't known to be full.
        let lacks = statvfs(&self.path).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < bytes);
        if self.full.swap(lacks, Ordering::Relaxed) != lacks {
            let path = self.path.display();
            match lacks {
                true => {
                    tracing::error!(%path, "the disk is full: writes are refused until there is space; make room")
                }
                false => tracing::info!(%path, "the disk has space again"),
            }
        }
        lacks
    }

    /// Calls `each` with every record, oldest first, checked.
    ///
    /// # Errors
    /// If the disk refuses or a record is damaged.
    pub fn scan(&self, mut each: impl FnMut(Revision, Record)) -> Result<(), StoreError> {
        let view = self.view()?;
        view.scan(&mut |revision, record| {
            each(revision, record);
            Ok(())
        })
        .map_err(|error| self.damaged(error.to_string()))
    }

    fn io(&self, action: &'static str, source: redb::Error) -> StoreError {
        io_error(&self.path, action, source)
    }

    /// An error that says what is wrong with the file.
    pub fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

fn open_error(path: &Path, error: redb::DatabaseError) -> StoreError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
        },
        error => io_error(path, "open", error.into()),
    }
}

fn io_error(path: &Path, action: &'static str, source: redb::Error) -> StoreError {
    let path = path.to_owned();
    match source {
        redb::Error::Corrupted(what) => StoreError::Damaged { path, what },
        // How redb reports a file that isn't a database, or was cut.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            StoreError::Damaged {
                path,
                what: error.to_string(),
            }
        }
        source => StoreError::Io {
            action,
            path,
            source: Box::new(source),
        },
    }
}

impl DiskView {
    /// The record of a revision; `None` if it isn't there.
    ///
    /// # Errors
    /// If the disk refuses or the record is damaged.
    pub fn record(&self, revision: Revision) -> io::Result<Option<Record>> {
        let stored = self
            .records
            .get((revision.main, revision.sub))
            .map_err(io::Error::other)?;
        stored
            .map(|stored| checked(revision, stored.value()))
            .transpose()
    }

    /// Calls `each` with every record, oldest first.
    ///
    /// # Errors
    /// If the disk refuses, a record is damaged, or those of `each`.
    pub fn scan(&self, each: &mut dyn FnMut(Revision, Record) -> io::Result<()>) -> io::Result<()> {
        for entry in self.records.iter().map_err(io::Error::other)? {
            let (key, stored) = entry.map_err(io::Error::other)?;
            let (main, sub) = key.value();
            let revision = Revision { main, sub };
            each(revision, checked(revision, stored.value())?)?;
        }
        Ok(())
    }
}

fn checked(revision: Revision, stored: &[u8]) -> io::Result<Record> {
    Record::decode(revision, stored).ok_or_else(|| {
        let text = format!(
            "the record of revision {}.{} has a wrong checksum",
            revision.main, revision.sub
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

impl DiskWrite {
    fn create_tables(&self) -> Result<(), StoreError> {
        let create = || -> Result<(), redb::Error> {
            self.transaction.open_table(RECORDS)?;
            self.transaction.open_table(META)?;
            Ok(())
        };
        create().map_err(|error| io_error(&self.path, "write", error))
    }

    fn commit_tables(self) -> Result<(), StoreError> {
        let path = self.path;
        self.transaction
            .commit()
            .map_err(|error| io_error(&path, "write", error.into()))
    }

    /// Removes every record.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn clear(&self) -> Result<(), StoreError> {
        let clear = || -> Result<(), redb::Error> {
            self.transaction.delete_table(RECORDS)?;
            self.transaction.open_table(RECORDS)?;
            Ok(())
        };
        clear().map_err(|error| io_error(&self.path, "write", error))
    }

    /// Adds records.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn insert<'a>(
        &self,
        records: impl IntoIterator<Item = &'a (Revision, Record)>,
    ) -> Result<(), StoreError> {
        let insert = || -> Result<(), redb::Error> {
            let mut table = self.transaction.open_table(RECORDS)?;
            let mut stored = Vec::new();
            for (revision, record) in records {
                stored.clear();
                record.encode(*revision, &mut stored);
                table.insert((revision.main, revision.sub), &stored[..])?;
            }
            Ok(())
        };
        insert().map_err(|error| io_error(&self.path, "write", error))
    }

    /// Removes records.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remove(&self, revisions: &[Revision]) -> Result<(), StoreError> {
        let remove = || -> Result<(), redb::Error> {
            let mut table = self.transaction.open_table(RECORDS)?;
            for revision in revisions {
                table.remove((revision.main, revision.sub))?;
            }
            Ok(())
        };
        remove().map_err(|error| io_error(&self.path, "write", error))
    }

    /// Makes the changes, and how far the store is with them, durable together.
    ///
    /// # Errors
    /// If the disk refuses; then nothing has changed.
    pub fn commit(self, point: &Point) -> Result<(), StoreError> {
        let Self { transaction, path } = self;
        let commit = move || -> Result<(), redb::Error> {
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(POINT, &point.encode()[..])?;
                meta.insert(ATTRIBUTES, &attributes::encode(&point.attributes)[..])?;
            }
            transaction.commit()?;
            Ok(())
        };
        commit().map_err(|error| io_error(&path, "write", error))
    }
}
