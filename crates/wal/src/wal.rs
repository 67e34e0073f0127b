//! Opening the log and appending to it: one write and one flush for all that is appended at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::{BufMut, BytesMut};
use little_raft_core::{Identity, Restored, Write, planted};

use crate::directory::{lock, make, make_durable};
use crate::disk::Disk;
use crate::error::{AppendError, Damage, OpenError};
use crate::group::{Group, Run};
use crate::identity::{self, Founding};
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::record::{encode_opening, encode_write, entry_is_sound};
use crate::recovery::{Found, Torn, recover};
use crate::segment::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, Chain, SEGMENT_HEADER_BYTES, Segment,
    SegmentHeader, segment_identity,
};
use crate::upkeep::{Index, Shared, Upkeep, Upkeeper};

/// The most that one append may hold, in bytes (rule 12).
const APPEND_BYTES_MAX: usize = 1 << 30;
/// A buffer that grew beyond this is given back after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;
/// A batch without records: its header.
const MARKER_BYTES: u64 = BATCH_HEADER_BYTES as u64;

/// Sizes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of a segment once the log has grown; the first is 1 MiB, and each next twice as large. At least 1 KiB.
    pub segment_bytes: u64,
    /// How much of each group's newest entries [`Recovered`] carries, counted as [`Entry::bytes`] does.
    ///
    /// [`Entry::bytes`]: little_raft_core::Entry::bytes
    pub tail_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            tail_bytes: 16 << 20,
        }
    }
}

impl Options {
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.max(1 << 10)
    }

    pub(crate) fn first_bytes(&self) -> u64 {
        self.segment_bytes().min(1 << 20)
    }
}

/// What a directory remembers.
#[derive(Debug)]
pub struct Recovered {
    /// Whose it is; the boot number is this start's.
    pub identity: Identity,
    /// What each group remembers, by its number.
    pub groups: BTreeMap<u64, Restored>,
    /// The unfinished write that a crash left, if it did; worth a line in the program's log.
    pub torn: Option<Torn>,
}

/// How an append ended: everything in it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Whether the disk is too full to prepare the next segment. What is left of the present one is a reserve: refuse
    /// proposals and hand leadership over. It ends by itself when [`Wal::maintenance`] finds space again.
    pub low_space: bool,
}

/// The log of one data directory, for any number of groups.
///
/// One thread appends; [`Wal::reader`] and [`Wal::upkeeper`] give handles to others. After any error but
/// [`AppendError::NoSpace`], [`AppendError::TooLarge`] and [`AppendError::BadEntry`] it is closed for good (rule 2).
pub struct Wal {
    shared: Arc<Shared>,
    active: Arc<Segment>,
    /// Where the next batch goes. Invariant: the batches before it are flushed.
    end: u64,
    chain: Chain,
    /// The next batch must begin a segment: what is behind `end` was torn.
    must_roll: bool,
    /// Whether the newest batch is a marker.
    marked: bool,
    /// Reused from append to append.
    buffer: BytesMut,
}

impl Wal {
    /// Opens the log in `dir`, or makes it; only one process can have it open.
    ///
    /// Recovers, makes what was found durable once more, and counts the boot number up, durably.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        founding: &Founding,
    ) -> Result<(Self, Recovered), OpenError> {
        disk.create_dir(dir)
            .map_err(|error| OpenError::io(dir, error))?;
        let lock = lock(&*disk, dir)?;
        let (mut identity, plan) = match identity::load(&*disk, dir)? {
            Some(recorded) if recorded.boot > 0 => {
                let plan = Plan::load(&*disk, dir, &recorded)?;
                let identity = match &plan {
                    Some(plan) => plan.over(recorded),
                    None => recorded,
                };
                let former = plan.as_ref().map(|plan| &plan.former);
                founding.check(&identity, former, dir)?;
                (identity, plan)
            }
            unfinished => {
                if let Some(recorded) = &unfinished {
                    Plan::deny(&*disk, dir, recorded)?;
                }
                let nameless = unfinished.is_none();
                (make(&*disk, dir, &options, founding, nameless)?, None)
            }
        };
        let manifest = Manifest::load(&*disk, dir, identity.incarnation)?;
        let found = recover(&*disk, dir, identity.incarnation, manifest.listed())?;
        let unvouched = found.unvouched.clone().map(|range| (&*found.active, range));
        let recycled = make_durable(&*disk, dir, &identity, &manifest, unvouched, &options)?;
        identity.boot = identity.boot.checked_add(1).ok_or_else(|| {
            let what = "it was started more often than can be";
            Damage::new(dir.join("identity"), 0, what)
        })?;
        identity::store(&*disk, dir, &identity)?;
        let upkeep = Upkeep {
            manifest,
            spare: found.spare.clone(),
            recycled,
            lock: Some(lock),
        };
        let torn = found.torn.clone();
        let mut wal = Self::assemble(disk, dir, options, identity.incarnation, upkeep, found);
        if let Some(plan) = &plan {
            plan.carry_out(&mut wal)?;
        }
        let groups = wal.restored()?;
        Ok((
            wal,
            Recovered {
                identity,
                groups,
                torn,
            },
        ))
    }

    /// Whose directory `dir` is; nobody's, if it was never opened. Nothing is locked or changed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn identity(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, OpenError> {
        let recorded = identity::load(disk, dir)?;
        let Some(recorded) = recorded.filter(|identity| identity.boot > 0) else {
            return Ok(None);
        };
        Ok(Some(match Plan::load(disk, dir, &recorded)? {
            Some(plan) => plan.over(recorded),
            None => recorded,
        }))
    }

    pub(crate) fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        incarnation: u64,
        upkeep: Upkeep,
        found: Found,
    ) -> Self {
        let index = Index {
            groups: found.groups,
            segments: found.segments,
            active: (found.active.number, found.active.bytes),
        };
        let shared = Shared {
            disk,
            dir: dir.to_path_buf(),
            options,
            incarnation,
            index: RwLock::new(index),
            upkeep: Mutex::new(upkeep),
            low_space: AtomicBool::new(false),
            closed: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
            active: found.active,
            end: found.end,
            chain: found.chain,
            must_roll: found.must_roll,
            marked: false,
            buffer: BytesMut::new(),
        }
    }

    /// Looks at where each group stands.
    pub(crate) fn with_groups<T>(&self, look: impl FnOnce(&BTreeMap<u64, Group>) -> T) -> T {
        let index = self.shared.index.read();
        look(&index.unwrap_or_else(PoisonError::into_inner).groups)
    }

    /// The segments that must exist.
    pub(crate) fn with_manifest<T>(&self, look: impl FnOnce(&Manifest) -> T) -> T {
        look(&self.shared.upkeep().manifest)
    }

    pub(crate) fn restored(&self) -> Result<BTreeMap<u64, Restored>, OpenError> {
        let groups: Vec<(u64, Group)> = {
            let index = self.shared.index.read();
            let index = index.unwrap_or_else(PoisonError::into_inner);
            let groups = index.groups.iter();
            groups.map(|(id, group)| (*id, group.draft())).collect()
        };
        let reader = self.reader();
        let mut restored = BTreeMap::new();
        for (id, group) in groups {
            let tail = reader.tail(id, self.shared.options.tail_bytes)?;
            let group = Restored {
                hard_state: group.hard_state,
                base: group.base,
                terms: group.terms,
                last: group.last,
                memberships: group.memberships,
                tail,
            };
            restored.insert(id, group);
        }
        Ok(restored)
    }

    /// Makes these writes durable, in their order: one write to the disk and one flush for all of them.
    ///
    /// When it returns, all are durable (rule 1) and can be read. May be called with nothing to write.
    ///
    /// # Errors
    /// [`AppendError::NoSpace`], [`AppendError::TooLarge`] and [`AppendError::BadEntry`] have written nothing; any
    /// other error closes the log for good (rule 2).
    ///
    /// # Panics
    /// If a write's entries do not follow its group's log.
    pub fn append(&mut self, writes: &[(u64, &Write)]) -> Result<Appended, AppendError> {
        self.shared.check_open()?;
        if writes.is_empty() {
            return Ok(self.shared.appended());
        }
        self.check(writes)?;
        let runs = self.write_batch(writes)?;
        self.commit(writes, runs);
        self.marked = false;
        Ok(self.shared.appended())
    }

    /// Vouches for the newest append, so that damage to it can be told from an unfinished write. Call it when the log
    /// has been idle for a moment; it does nothing if nothing was appended since.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn mark(&mut self) -> Result<(), AppendError> {
        self.shared.check_open()?;
        if self.marked || self.must_roll {
            return Ok(());
        }
        self.write_batch(&[])?;
        self.marked = true;
        Ok(())
    }

    /// Gives up segments that no group needs, and prepares the next segment if it is not ready: call it now and then,
    /// best soon after each append, and again while [`Appended::low_space`] is set. Usually there is nothing to do.
    ///
    /// # Errors
    /// [`AppendError::Failed`] and [`AppendError::Closed`]. A full disk is no error, but `low_space`.
    pub fn maintenance(&mut self) -> Result<Appended, AppendError> {
        self.shared.maintain()
    }

    /// A handle that does [`Wal::maintenance`] on another thread, off the append path.
    pub fn upkeeper(&self) -> Upkeeper {
        Upkeeper {
            shared: self.shared.clone(),
        }
    }

    /// A handle that reads durable entries while appends go on.
    pub fn reader(&self) -> Reader {
        Reader {
            shared: self.shared.clone(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Where the snapshots of a group belong: a directory for its [`SnapshotStore`](crate::SnapshotStore).
    pub fn snapshots_dir(&self, group: u64) -> PathBuf {
        self.shared.dir.join("snapshots").join(group.to_string())
    }

    /// Refuses what could be written but never be taken over again.
    pub(crate) fn check(&self, writes: &[(u64, &Write)]) -> Result<(), AppendError> {
        let mut drafts: BTreeMap<u64, Group> = BTreeMap::new();
        let index = self.shared.index.read();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (id, write) in writes {
            let bad = write.entries.iter().find(|entry| !entry_is_sound(entry));
            if let Some(entry) = bad {
                return Err(AppendError::BadEntry {
                    group: *id,
                    index: entry.position.index,
                });
            }
            let known = || index.groups.get(id).map(Group::draft).unwrap_or_default();
            let draft = drafts.entry(*id).or_insert_with(known);
            draft.apply(write.hard_state, write.base.as_deref(), &write.entries, &[]);
            bytes += write
                .entries
                .iter()
                .map(|entry| entry.bytes())
                .sum::<usize>();
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge {
                bytes: bytes as u64,
                limit: APPEND_BYTES_MAX as u64,
            });
        }
        Ok(())
    }

    /// Writes and flushes one batch, in the next segment if this one is full. Says where each write's entries are.
    fn write_batch(&mut self, writes: &[(u64, &Write)]) -> Result<Vec<Vec<Run>>, AppendError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_batch_from(&mut buffer, writes);
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffer = buffer;
        }
        written
    }

    fn write_batch_from(
        &mut self,
        buffer: &mut BytesMut,
        writes: &[(u64, &Write)],
    ) -> Result<Vec<Vec<Run>>, AppendError> {
        let mut runs = encode_batch(buffer, 0, &BTreeMap::new(), writes);
        let body = if self.must_roll || !self.fits(buffer.len(), writes.is_empty()) {
            runs = {
                let index = self.shared.index.read();
                let index = index.unwrap_or_else(PoisonError::into_inner);
                encode_batch(buffer, SEGMENT_HEADER_BYTES, &index.groups, writes)
            };
            self.write_next_segment(buffer)?
        } else {
            self.write_here(buffer)?
        };
        for run in runs.iter_mut().flatten() {
            run.span.segment = self.active.number;
            run.span.offset += body;
        }
        Ok(runs)
    }

    /// Whether the batch fits behind the last one. Every append leaves room for the marker that vouches for it.
    fn fits(&self, bytes: usize, marker: bool) -> bool {
        let left = if marker { 0 } else { MARKER_BYTES };
        let whole = bytes.next_multiple_of(ALIGNMENT) as u64;
        self.end + whole + left <= self.active.bytes
    }

    /// Writes the batch behind the last one. Returns where its body begins.
    fn write_here(&mut self, buffer: &mut BytesMut) -> Result<u64, AppendError> {
        let identity = segment_identity(self.shared.incarnation, self.active.number);
        let checksum = BatchHeader::seal(buffer, identity, self.chain, false);
        let active = self.active.clone();
        self.write_flushed(&active, buffer, self.end)?;
        Ok(self.advance(self.end, buffer.len(), checksum))
    }

    /// Begins the next segment with this batch: header, opening and writes are still one write and one flush.
    fn write_next_segment(&mut self, buffer: &mut BytesMut) -> Result<u64, AppendError> {
        let need = buffer.len().next_multiple_of(ALIGNMENT) as u64 + MARKER_BYTES;
        let next = self.next_segment(need)?;
        let identity = segment_identity(self.shared.incarnation, next.number);
        let header = SegmentHeader {
            identity,
            previous_end: self.end,
            chain: self.chain,
        };
        buffer[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let batch = &mut buffer[SEGMENT_HEADER_BYTES..];
        let checksum = BatchHeader::seal(batch, identity, self.chain, true);
        self.write_flushed(&next, buffer, 0)?;
        self.begin(next);
        let bytes = buffer.len() - SEGMENT_HEADER_BYTES;
        Ok(self.advance(SEGMENT_HEADER_BYTES as u64, bytes, checksum))
    }

    fn next_segment(&self, need: u64) -> Result<Arc<Segment>, AppendError> {
        let mut upkeep = self.shared.upkeep();
        // Unfilled: appends to it are slower than to one prepared in time, but this append does not wait.
        let ready = self.shared.prepare(&mut upkeep, need, false)?;
        let spare = upkeep.spare.clone().filter(|_| ready);
        spare.ok_or_else(|| AppendError::NoSpace {
            dir: self.shared.dir.clone(),
            bytes: need,
        })
    }

    fn write_flushed(
        &self,
        segment: &Segment,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), AppendError> {
        let written = segment.file.write_at(bytes, offset);
        // Rule 2: neither is ever tried again.
        written
            .and_then(|()| match segment.file.sync_data() {
                Err(_) if planted!(P46) => segment.file.sync_data(),
                flushed => flushed,
            })
            .map_err(|error| self.shared.fail(segment.path.clone(), error))
    }

    /// Only now, with its first batch flushed, is the segment the active one, and a new spare wanted.
    fn begin(&mut self, next: Arc<Segment>) {
        self.shared.upkeep().spare = None;
        let index = self.shared.index.write();
        let mut index = index.unwrap_or_else(PoisonError::into_inner);
        index.active = (next.number, next.bytes);
        index.segments.insert(next.number, next.clone());
        self.active = next;
        self.must_roll = false;
    }

    /// The chain goes on behind the batch at `offset`. Returns where its body begins.
    fn advance(&mut self, offset: u64, bytes: usize, checksum: u32) -> u64 {
        self.end = offset + bytes.next_multiple_of(ALIGNMENT) as u64;
        self.chain = Chain {
            next: self.chain.next + 1,
            checksum,
        };
        offset + BATCH_HEADER_BYTES as u64
    }

    /// What is flushed supersedes what was there, and can be read.
    fn commit(&self, writes: &[(u64, &Write)], runs: Vec<Vec<Run>>) {
        let index = self.shared.index.write();
        let mut index = index.unwrap_or_else(PoisonError::into_inner);
        for ((id, write), runs) in writes.iter().zip(runs) {
            let group = index.groups.entry(*id).or_default();
            group.apply(
                write.hard_state,
                write.base.as_deref(),
                &write.entries,
                &runs,
            );
        }
    }
}

impl Drop for Wal {
    /// Lets go of the directory, also if readers live on.
    fn drop(&mut self) {
        let mut upkeep = self.shared.upkeep();
        self.shared.close("it was closed by its owner".into());
        upkeep.lock = None;
    }
}

/// Encodes a batch with room in front for its header, and for `lead` bytes more.
fn encode_batch(
    buffer: &mut BytesMut,
    lead: usize,
    opening: &BTreeMap<u64, Group>,
    writes: &[(u64, &Write)],
) -> Vec<Vec<Run>> {
    let body = lead + BATCH_HEADER_BYTES;
    buffer.clear();
    buffer.put_bytes(0, body);
    encode_opening(opening, buffer);
    writes
        .iter()
        .map(|(id, write)| encode_write(*id, write, body, buffer))
        .collect()
}
