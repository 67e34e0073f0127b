//! A log's directory at a start: taken, made if it is new, tidied, and made durable as it was found.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::{BufMut, BytesMut};
use little_raft_core::Identity;

use crate::Options;
use crate::disk::{Disk, DiskLock};
use crate::error::{Damage, OpenError};
use crate::identity::{self, Founding};
use crate::manifest::{Listed, Manifest};
use crate::recovery::read_header;
use crate::segment::{
    BATCH_HEADER_BYTES, BatchHeader, Chain, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
    segment_identity, segment_number, segment_path,
};
use crate::upkeep::reserve;

const FIRST_SEGMENT: u64 = 1;

pub(crate) fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked {
            dir: dir.to_path_buf(),
        },
        _ => OpenError::io(&path, error),
    })
}

/// Makes a new directory's files. Boot number 0 says that they are not finished; the first start's number ends that.
pub(crate) fn make(
    disk: &dyn Disk,
    dir: &Path,
    options: &Options,
    founding: &Founding,
    nameless: bool,
) -> Result<Identity, OpenError> {
    let names = disk.list(dir).map_err(|error| OpenError::io(dir, error))?;
    let logs = names
        .iter()
        .any(|name| name == "manifest" || segment_number(name).is_some());
    if nameless && logs {
        let what = "the file is missing, though there is a log";
        return Err(Damage::new(dir.join("identity"), 0, what).into());
    }
    let identity = founding.unfinished();
    identity::store(disk, dir, &identity)?;
    let path = segment_path(dir, FIRST_SEGMENT);
    make_first_segment(disk, dir, &path, options, identity.incarnation)
        .map_err(|error| OpenError::io(&path, error))?;
    let listed = Listed {
        first: FIRST_SEGMENT,
        last: FIRST_SEGMENT,
    };
    Manifest::create(disk, dir, identity.incarnation, listed)
        .map_err(|error| OpenError::io(&dir.join("manifest"), error))?;
    Ok(identity)
}

fn make_first_segment(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    options: &Options,
    incarnation: u64,
) -> io::Result<()> {
    let file = reserve(disk, path, options.first_bytes(), true)?;
    let identity = segment_identity(incarnation, FIRST_SEGMENT);
    let chain = Chain {
        next: 1,
        checksum: 0,
    };
    let header = SegmentHeader {
        identity,
        previous_end: 0,
        chain,
    };
    let mut begin = BytesMut::from(&header.to_bytes()[..]);
    begin.put_bytes(0, BATCH_HEADER_BYTES);
    BatchHeader::seal(&mut begin[SEGMENT_HEADER_BYTES..], identity, chain, true);
    file.write_at(&begin, 0)?;
    file.sync_data()?;
    disk.sync_dir(dir)
}

/// What was found is durable before anything is built on it. Returns the files to be used again.
///
/// A killed process leaves its last write in the machine's memory, where it can be read though it is not durable, and
/// after a failed flush it may be there and never be written. So the manifest and the newest batch are written again and flushed.
pub(crate) fn make_durable(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
    manifest: &Manifest,
    unvouched: Option<(&Segment, Range<u64>)>,
    options: &Options,
) -> Result<Vec<PathBuf>, OpenError> {
    let recycled = tidy(disk, dir, identity, manifest.listed(), options)?;
    manifest
        .vouch_again()
        .map_err(|error| OpenError::io(manifest.path(), error))?;
    if let Some((active, batch)) = unvouched {
        write_again(active, batch).map_err(|error| OpenError::io(&active.path, error))?;
    }
    Ok(recycled)
}

fn write_again(active: &Segment, batch: Range<u64>) -> io::Result<()> {
    let mut bytes = vec![0; (batch.end - batch.start) as usize];
    let filled = active.file.read_at(&mut bytes, batch.start)?;
    active.file.write_at(&bytes[..filled], batch.start)?;
    active.file.sync_data()
}

/// Takes care of what a crash left: files that are not listed (any more, or yet). Returns those to be used again.
fn tidy(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
    listed: Listed,
    options: &Options,
) -> Result<Vec<PathBuf>, OpenError> {
    let mut recycled = Vec::new();
    for name in disk.list(dir).map_err(|error| OpenError::io(dir, error))? {
        let path = dir.join(&name);
        let failed = |error| OpenError::io(&path, error);
        let number = segment_number(&name);
        if number.is_some_and(|number| (listed.first..=listed.last).contains(&number)) {
            continue;
        }
        if let Some(number) = number.filter(|number| *number > listed.last) {
            check_unlisted(disk, &path, number, identity.incarnation)?;
        }
        if name.ends_with(".recycled") && recycled.len() < 2 {
            let length = disk.open(&path).and_then(|file| file.length());
            if length.map_err(failed)? == options.segment_bytes() {
                recycled.push(path);
                continue;
            }
        }
        let ours = number.is_some() || name.ends_with(".recycled") || name.ends_with(".tmp");
        if ours {
            disk.remove(&path).map_err(failed)?;
        }
    }
    Ok(recycled)
}

/// A segment that was begun was listed before: then the manifest has forgotten it, and can't be trusted.
fn check_unlisted(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    incarnation: u64,
) -> Result<(), OpenError> {
    let segment = Segment {
        number,
        path: path.to_path_buf(),
        file: disk
            .open(path)
            .map_err(|error| OpenError::io(path, error))?,
        bytes: 0,
    };
    match read_header(&segment, incarnation)? {
        Some(_) => {
            let what = "the segment was begun, but the manifest does not list it any more";
            Err(Damage::new(path, 0, what).into())
        }
        None => Ok(()),
    }
}
