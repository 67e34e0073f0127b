//! Work off the append path: dropping the head, and preparing the next segment before it is needed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use little_raft_core::planted;

use crate::disk::{Disk, DiskFile, DiskLock, is_full};
use crate::error::AppendError;
use crate::group::Group;
use crate::manifest::{Listed, Manifest};
use crate::segment::{Segment, segment_path};
use crate::{Appended, Options};

const FILL_BYTES: u64 = 1 << 20;
const PREPARED_NAME: &str = "prepared.tmp";
const RECYCLED_MAX: usize = 2;

/// What the log, its readers and its upkeep share.
///
/// Lock order: `upkeep`, then `index`. `index` is never held while the disk works.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) incarnation: u64,
    pub(crate) index: RwLock<Index>,
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) low_space: AtomicBool,
    /// Why the log is closed, if it is.
    pub(crate) closed: Mutex<Option<String>>,
}

/// Where the durable entries are.
pub(crate) struct Index {
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    /// The segment that is written to, and its size.
    pub(crate) active: (u64, u64),
}

/// What upkeep alone changes.
pub(crate) struct Upkeep {
    pub(crate) manifest: Manifest,
    /// The next segment: listed, its space reserved, not begun.
    pub(crate) spare: Option<Arc<Segment>>,
    /// Files of dropped segments of full size, to be used again.
    pub(crate) recycled: Vec<PathBuf>,
    /// Held as long as the log is open.
    pub(crate) lock: Option<Box<dyn DiskLock>>,
}

/// Why a segment could not be prepared.
enum Trouble {
    /// No space: nothing has changed, it may be tried again.
    Full,
    /// Nobody knows what the disk holds.
    Failed(PathBuf, io::Error),
}

fn trouble(path: &Path) -> impl Fn(io::Error) -> Trouble {
    let path = path.to_path_buf();
    move |error| {
        if is_full(&error) {
            Trouble::Full
        } else {
            Trouble::Failed(path.clone(), error)
        }
    }
}

/// A handle that does the log's upkeep on any thread.
#[derive(Clone)]
pub struct Upkeeper {
    pub(crate) shared: Arc<Shared>,
}

impl Upkeeper {
    /// Does what [`Wal::maintenance`](crate::Wal::maintenance) does, while appends go on elsewhere.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self) -> Result<Appended, AppendError> {
        self.shared.maintain()
    }
}

impl Shared {
    pub(crate) fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_open(&self) -> Result<(), AppendError> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*closed {
            Some(reason) => Err(AppendError::Closed {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Rule 2: closes the log for good.
    pub(crate) fn fail(&self, file: PathBuf, source: io::Error) -> AppendError {
        self.close(format!("writing {} failed: {source}", file.display()));
        AppendError::Failed { file, source }
    }

    pub(crate) fn close(&self, reason: String) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.get_or_insert(reason);
    }

    pub(crate) fn appended(&self) -> Appended {
        Appended {
            low_space: self.low_space.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn maintain(&self) -> Result<Appended, AppendError> {
        let mut upkeep = self.upkeep();
        self.check_open()?;
        self.drop_head(&mut upkeep)?;
        // Being full is said by `low_space`.
        let _full = self.prepare(&mut upkeep, 0, true)?;
        Ok(self.appended())
    }

    /// Gives up the segments at the front that no group needs. The next one opens with every group's hard state and
    /// base, so that no vote goes with them.
    fn drop_head(&self, upkeep: &mut Upkeep) -> Result<(), AppendError> {
        let listed = upkeep.manifest.listed();
        let first = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            let needed = index.groups.values().filter_map(Group::oldest_segment);
            needed.min().unwrap_or(u64::MAX).min(index.active.0)
        };
        if first <= listed.first {
            return Ok(());
        }
        let path = upkeep.manifest.path().to_path_buf();
        upkeep
            .manifest
            .change(Listed { first, ..listed })
            .map_err(|error| self.fail(path, error))?;
        let dropped = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            let kept = index.segments.split_off(&first);
            std::mem::replace(&mut index.segments, kept)
        };
        for segment in dropped.into_values() {
            self.recycle(upkeep, segment);
        }
        Ok(())
    }

    /// Keeps a dropped file for later use, or removes it. A failure is harmless: the next start tries again.
    fn recycle(&self, upkeep: &mut Upkeep, segment: Arc<Segment>) {
        let path = segment.path.clone();
        let full_size = segment.bytes == self.options.segment_bytes();
        // A reader that still holds the file must not see it overwritten.
        let unread = Arc::try_unwrap(segment).is_ok();
        if unread && full_size && upkeep.recycled.len() < RECYCLED_MAX {
            let name = path.with_extension("recycled");
            if self.disk.rename(&path, &name).is_ok() {
                upkeep.recycled.push(name);
            }
        } else {
            let _left_for_the_next_start = self.disk.remove(&path);
        }
    }

    /// Sees to it that a next segment of at least `need` bytes is ready; false if there is no space for it.
    /// With `fill`, its blocks are really written once, which makes later writes to them quicker.
    pub(crate) fn prepare(
        &self,
        upkeep: &mut Upkeep,
        need: u64,
        fill: bool,
    ) -> Result<bool, AppendError> {
        if upkeep
            .spare
            .as_ref()
            .is_some_and(|spare| spare.bytes >= need)
        {
            self.low_space.store(false, Ordering::Relaxed);
            return Ok(true);
        }
        match self.make_spare(upkeep, need, fill) {
            Ok(spare) => {
                upkeep.spare = Some(Arc::new(spare));
                self.low_space.store(false, Ordering::Relaxed);
                Ok(true)
            }
            Err(Trouble::Full) => {
                self.low_space.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(Trouble::Failed(file, source)) => Err(self.fail(file, source)),
        }
    }

    fn make_spare(&self, upkeep: &mut Upkeep, need: u64, fill: bool) -> Result<Segment, Trouble> {
        let listed = upkeep.manifest.listed();
        let number = upkeep
            .spare
            .as_ref()
            .map_or(listed.last + 1, |spare| spare.number);
        let planned = self.planned_bytes().max(need.next_multiple_of(4096));
        let (file, from, bytes) = self.take_recycled(upkeep, planned).map_or_else(
            || self.make_file(planned, need, fill),
            |(file, from)| Ok((file, from, planned)),
        )?;
        let path = segment_path(&self.dir, number);
        // P49: under its name, durably, and listed, before anything in it counts.
        self.disk.rename(&from, &path).map_err(trouble(&path))?;
        let failed = |path: &Path, error| Trouble::Failed(path.to_path_buf(), error);
        let synced = planted!(P49, Ok(()), self.disk.sync_dir(&self.dir));
        synced.map_err(|error| failed(&self.dir, error))?;
        if number > listed.last {
            let list = Listed {
                last: number,
                ..listed
            };
            let change = upkeep.manifest.change(list);
            change.map_err(|error| failed(upkeep.manifest.path(), error))?;
        }
        Ok(Segment {
            number,
            path,
            file,
            bytes,
        })
    }

    /// Segments double in size up to the configured one, so that a first start is quick and a small log small.
    fn planned_bytes(&self) -> u64 {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        (index.active.1 * 2).min(self.options.segment_bytes())
    }

    fn take_recycled(
        &self,
        upkeep: &mut Upkeep,
        planned: u64,
    ) -> Option<(Arc<dyn DiskFile>, PathBuf)> {
        while planned == self.options.segment_bytes() {
            let path = upkeep.recycled.pop()?;
            match self.disk.open(&path) {
                Ok(file) if file.length().is_ok_and(|length| length == planned) => {
                    return Some((file, path));
                }
                _ => {}
            }
        }
        None
    }

    /// Makes a file of `planned` bytes, or of half, a quarter, ... if there is no more space, but of `need` at least.
    fn make_file(
        &self,
        planned: u64,
        need: u64,
        fill: bool,
    ) -> Result<(Arc<dyn DiskFile>, PathBuf, u64), Trouble> {
        let path = self.dir.join(PREPARED_NAME);
        let least = need
            .next_multiple_of(4096)
            .max(self.options.first_bytes())
            .min(planned);
        let mut bytes = planned;
        loop {
            match reserve(&*self.disk, &path, bytes, fill) {
                Ok(file) => return Ok((file, path, bytes)),
                Err(error) if is_full(&error) => {
                    let _room = self.disk.remove(&path);
                    if bytes == least {
                        return Err(Trouble::Full);
                    }
                    bytes = (bytes / 2).max(least);
                }
                Err(error) => return Err(Trouble::Failed(path, error)),
            }
        }
    }
}

/// Makes a file whose `bytes` bytes are all there to be written; with `fill`, all written once.
pub(crate) fn reserve(
    disk: &dyn Disk,
    path: &Path,
    bytes: u64,
    fill: bool,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path)?;
    let reserved = match file.reserve(bytes) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
        other => {
            other?;
            true
        }
    };
    if fill || !reserved {
        let zeros = vec![0; FILL_BYTES.min(bytes) as usize];
        let mut offset = 0;
        while offset < bytes {
            let piece = &zeros[..FILL_BYTES.min(bytes - offset) as usize];
            file.write_at(piece, offset)?;
            // In small portions, so that the appends' own flushes are not held up.
            file.sync_data()?;
            offset += piece.len() as u64;
        }
    } else {
        file.sync_data()?;
    }
    Ok(file)
}
