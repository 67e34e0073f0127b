//! Reading durable entries while appends go on.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use little_raft_core::Entry;

use crate::error::{Damage, OpenError, ReadError};
use crate::group::{Group, Run};
use crate::record::decode_entry;
use crate::segment::Segment;
use crate::upkeep::Shared;

/// Reads durable entries, on any thread. Cheap to clone; it outlives the log, and then reads what was durable last.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// The entries of `group` from `first` to `last`, as many as `bytes_max` holds (counted as [`Entry::bytes`] does),
    /// but at least one. What is not durable yet is left out; there may be nothing.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] if the log begins behind `first`, and whatever the disk says.
    pub fn read(
        &self,
        group: u64,
        first: u64,
        last: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for (segment, run) in self.places(group, first, last, bytes_max)? {
            let stop = run.last().min(last);
            for entry in read_run(&segment, &run, stop)? {
                if entry.position.index < first {
                    continue;
                }
                bytes += entry.bytes();
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Where the wanted entries are. Holding a segment keeps its file from being used for something else.
    fn places(
        &self,
        group: u64,
        first: u64,
        last: u64,
        bytes_max: usize,
    ) -> Result<Vec<(Arc<Segment>, Run)>, ReadError> {
        let index = self.shared.index.read();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        let Some(known) = index.groups.get(&group) else {
            return Ok(Vec::new());
        };
        if first <= known.base.position.index {
            return Err(ReadError::Compacted {
                group,
                first,
                base: known.base.position.index,
            });
        }
        let begin = known.runs.partition_point(|run| run.last() < first);
        let (mut places, mut bytes) = (Vec::new(), 0);
        for run in known.runs.range(begin..) {
            if run.first > last || bytes > bytes_max as u64 {
                break;
            }
            // The first run may hold more than is wanted; it does not count.
            if !places.is_empty() {
                bytes += run.span.bytes;
            }
            let segment = index.segments.get(&run.span.segment);
            let segment = segment.expect("a segment stays while a group needs it");
            places.push((segment.clone(), *run));
        }
        Ok(places)
    }

    /// The newest entries of `group`, as many as `bytes_max` holds.
    pub(crate) fn tail(&self, group: u64, bytes_max: usize) -> Result<Vec<Entry>, OpenError> {
        let (first, last) = {
            let index = self.shared.index.read();
            let index = index.unwrap_or_else(PoisonError::into_inner);
            let known = index.groups.get(&group);
            known.map_or((1, 0), |known| (tail_begin(known, bytes_max), known.last))
        };
        if first > last {
            return Ok(Vec::new());
        }
        let mut entries =
            self.read(group, first, last, usize::MAX)
                .map_err(|error| match error {
                    ReadError::Damaged(damage) => OpenError::Damaged(damage),
                    ReadError::Io { file, source } => OpenError::io(&file, source),
                    ReadError::Compacted { .. } => unreachable!("a tail begins above its base"),
                })?;
        let mut bytes = 0;
        let fit = entries.iter().rev().take_while(|entry| {
            bytes += entry.bytes();
            bytes <= bytes_max
        });
        let fit = fit.count();
        entries.drain(..entries.len() - fit);
        Ok(entries)
    }
}

/// An index from which on all entries surely include those that fit.
fn tail_begin(group: &Group, bytes_max: usize) -> u64 {
    let lowest = group.base.position.index + 1;
    let mut bytes = 0;
    for run in group.runs.iter().rev() {
        if bytes > bytes_max as u64 {
            return (run.last() + 1).max(lowest);
        }
        bytes += run.span.bytes;
    }
    lowest
}

/// The entries of a run up to index `stop`, each checked against its checksums and its place.
fn read_run(segment: &Segment, run: &Run, stop: u64) -> Result<Vec<Entry>, ReadError> {
    let mut bytes = vec![0; run.span.bytes as usize];
    let filled = segment
        .file
        .read_at(&mut bytes, run.span.offset)
        .map_err(|source| ReadError::Io {
            file: segment.path.clone(),
            source,
        })?;
    bytes.truncate(filled);
    let mut input = Bytes::from(bytes);
    let mut entries = Vec::new();
    for index in run.first..=stop {
        let offset = run.span.offset + (filled - input.len()) as u64;
        let entry = decode_entry(&mut input).filter(|entry| entry.position.index == index);
        let Some(entry) = entry else {
            let what = format!("entry {index} does not match its checksum");
            return Err(Damage::new(&segment.path, offset, what).into());
        };
        entries.push(entry);
    }
    Ok(entries)
}
