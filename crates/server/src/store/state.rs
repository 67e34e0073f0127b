//! The store in memory: the index of all keys, and the newest records until they are on disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use little_raft::LibraryState;
use little_raft::core::Position;

use super::attributes::Attributes;
use super::disk::{Disk, DiskView, NEVER_COMPACTED, Point};
use super::error::StoreError;
use super::index::{Index, Version};
use super::record::{Record, Revision};

/// What applying changes and reading looks at.
///
/// Invariant: `recent` holds exactly the records that are in the index and not yet in the file, in order.
#[derive(Debug)]
pub struct State {
    pub index: Index,
    pub recent: VecDeque<(Revision, Record)>,
    /// Bytes of `recent`.
    pub recent_bytes: usize,
    /// How far applying is; ahead of `committed` within a batch.
    pub revision: i64,
    pub compacted: i64,
    pub history: u32,
    /// What the members say of themselves.
    pub attributes: Arc<Attributes>,
    /// Bytes of all records that aren't compacted away: what the quota limits.
    pub bytes: u64,
    /// What reads see.
    pub committed: Point,
    /// What survives a crash.
    pub durable: Point,
    /// Up to which compaction the file has been freed of what is obsolete.
    pub cleaned: i64,
    /// The last key looked at by the cleaning under way, and the compaction it is for.
    cleaning: Option<(i64, Box<[u8]>)>,
    /// Why the store can't go on, once it can't.
    pub failure: Option<String>,
}

impl State {
    /// Reads the index from the file.
    pub fn load(disk: &Disk) -> Result<Self, StoreError> {
        let point = disk.point()?;
        let mut state = Self::at(point);
        let mut newest = 0;
        disk.scan(|revision, record| {
            newest = revision.main;
            state.insert(revision, &record);
        })?;
        if newest > state.revision {
            let text = format!("it holds revision {newest}, but ends at {}", state.revision);
            return Err(disk.damaged(text));
        }
        Ok(state)
    }

    /// A state without keys that is as far as `point`.
    pub fn at(point: Point) -> Self {
        Self {
            index: Index::default(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            revision: point.revision,
            compacted: point.compacted,
            history: point.history,
            attributes: point.attributes.clone(),
            bytes: 0,
            committed: point.clone(),
            durable: point,
            cleaned: NEVER_COMPACTED,
            cleaning: None,
            failure: None,
        }
    }

    /// Adds a record that is in the file.
    pub fn insert(&mut self, revision: Revision, record: &Record) {
        self.index.push(&record.key, Version::of(revision, record));
        self.bytes += record.bytes() as u64;
    }

    /// Adds a new record.
    pub fn write(&mut self, revision: Revision, record: Record) {
        self.insert(revision, &record);
        self.recent_bytes += record.bytes();
        self.recent.push_back((revision, record));
    }

    /// Takes back all that was written at or after `revision`.
    pub fn undo(&mut self, revision: Revision) {
        while self
            .recent
            .back()
            .is_some_and(|(written, _)| *written >= revision)
        {
            let (written, record) = self.recent.pop_back().expect("just looked at");
            self.index.pop(&record.key, written);
            self.recent_bytes -= record.bytes();
            self.bytes -= record.bytes() as u64;
        }
    }

    /// The record of a revision that the index knows, unless it is in the file.
    pub fn recent(&self, revision: Revision) -> Option<&Record> {
        let at = self
            .recent
            .binary_search_by_key(&revision, |(written, _)| *written)
            .ok()?;
        Some(&self.recent[at].1)
    }

    /// The record of a revision that the index knows.
    pub fn record(&self, revision: Revision, view: &DiskView) -> io::Result<Record> {
        match self.recent(revision) {
            Some(record) => Ok(record.clone()),
            None => stored(revision, view),
        }
    }

    /// How far applying is, as of the end of a batch.
    pub fn point(&self, position: Position, library: &LibraryState) -> Point {
        Point {
            position,
            library: library.clone(),
            revision: self.revision,
            compacted: self.compacted,
            history: self.history,
            attributes: self.attributes.clone(),
        }
    }

    /// Drops from the index what the durable compaction made obsolete, in the next `keys_max` keys. Returns that
    /// compaction's revision once all keys are done.
    pub fn clean_some(&mut self, keys_max: usize, dropped: &mut Vec<Revision>) -> Option<i64> {
        let target = self.durable.compacted;
        if self.cleaned == target {
            return Some(target);
        }
        let (revision, after) = match self.cleaning.take() {
            Some((revision, after)) => (revision, Some(after)),
            None => (target, None),
        };
        let bytes = &mut self.bytes;
        let last = self
            .index
            .compact(revision, after.as_deref(), keys_max, |version| {
                *bytes -= u64::from(version.bytes);
                dropped.push(version.revision);
            });
        match last {
            Some(last) => {
                self.cleaning = Some((revision, last));
                None
            }
            None => Some(revision),
        }
    }

    /// Notes that the file is free of what the compaction at `revision` made obsolete.
    pub fn cleaned(&mut self, revision: i64) {
        self.cleaned = revision;
    }

    /// Forgets the records that are now in the file.
    pub fn flushed(&mut self, point: Point) {
        while self
            .recent
            .front()
            .is_some_and(|(written, _)| written.main <= point.revision)
        {
            let (_, record) = self.recent.pop_front().expect("just looked at");
            self.recent_bytes -= record.bytes();
        }
        self.durable = point;
    }
}

/// A record that must be in the file.
pub fn stored(revision: Revision, view: &DiskView) -> io::Result<Record> {
    view.record(revision)?.ok_or_else(|| {
        let text = format!(
            "the record of revision {}.{} is missing",
            revision.main, revision.sub
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}
