//! What the segments say after a start, whatever happened before it: a torn tail is cut, damage is refused (rule 3).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::planted;

use crate::disk::Disk;
use crate::error::{Damage, OpenError};
use crate::group::{Group, Run};
use crate::identity::newer;
use crate::manifest::Listed;
use crate::record::{BadRecord, Record, decode_record};
use crate::segment::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, Beginning, Chain, SEGMENT_HEADER_BYTES, Segment,
    SegmentHeader, batch_bytes, segment_identity, segment_path,
};

const WINDOW_BYTES: u64 = 1 << 20;

/// An unfinished write that a crash left at the end of the log. Nothing in it was ever acknowledged; it was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub file: PathBuf,
    /// Where the unfinished write begins, in bytes.
    pub offset: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset } = self;
        let file = file.display();
        write!(
            f,
            "an unfinished write at byte {offset} of {file} was cut off; it was never acknowledged"
        )
    }
}

/// What recovery found.
pub(crate) struct Found {
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    /// The newest segment that holds a valid batch.
    pub(crate) active: Arc<Segment>,
    /// Where its valid batches end.
    pub(crate) end: u64,
    pub(crate) chain: Chain,
    /// The newest batch, if there is any: nobody can be sure that it was flushed.
    pub(crate) unvouched: Option<std::ops::Range<u64>>,
    /// Set if nothing may be written behind `end` any more.
    pub(crate) must_roll: bool,
    pub(crate) torn: Option<Torn>,
    /// The segment that is prepared and not begun.
    pub(crate) spare: Option<Arc<Segment>>,
}

/// How the batches of a segment end.
struct End {
    offset: u64,
    newest: Option<std::ops::Range<u64>>,
    torn: bool,
}

pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    incarnation: u64,
    listed: Listed,
) -> Result<Found, OpenError> {
    let mut opened = Vec::new();
    for number in listed.first..=listed.last {
        opened.push(open_segment(disk, dir, incarnation, number)?);
    }
    // Only the newest may be prepared and not begun.
    let (newest, begun) = match opened.pop() {
        Some((newest, None)) => (Some(newest), opened),
        Some(last) => {
            opened.push(last);
            (None, opened)
        }
        None => unreachable!("a list names at least one segment"),
    };
    let begun = all_begun(begun)?;
    let mut scan = Scan {
        groups: BTreeMap::new(),
        chain: Chain {
            next: 0,
            checksum: 0,
        },
        incarnation,
    };
    let (mut held, mut end, mut spare, mut torn) = (Vec::new(), None, newest, None);
    let mut must_roll = false;
    for (place, (segment, header)) in begun.iter().enumerate() {
        let stop = begun.get(place + 1).map(|(_, next)| next.previous_end);
        let found = scan.segment(segment, header, stop, place == 0)?;
        torn = found.torn.then(|| Torn {
            file: segment.path.clone(),
            offset: found.offset,
        });
        must_roll = found.torn;
        if found.newest.is_none() && stop.is_some() {
            let what = "it holds nothing, though a later segment was begun";
            return Err(Damage::new(&segment.path, 0, what).into());
        }
        if found.newest.is_none() {
            // Its first write is torn: the segment is as good as not begun.
            spare = Some(segment.clone());
            must_roll = true;
            break;
        }
        held.push(segment.clone());
        end = Some(found);
    }
    let (Some(active), Some(end)) = (held.last().cloned(), end) else {
        let file = segment_path(dir, listed.first);
        return Err(Damage::new(file, 0, "the log's first segment holds nothing").into());
    };
    if let (Some(spare), None) = (&spare, &torn) {
        torn = scan.torn_beginning(spare)?;
        must_roll |= torn.is_some();
    }
    scan.check_groups(&active)?;
    Ok(Found {
        groups: scan.groups,
        segments: held.into_iter().map(|held| (held.number, held)).collect(),
        active,
        end: end.offset,
        chain: scan.chain,
        unvouched: end.newest,
        must_roll,
        torn,
        spare,
    })
}

type Opened = (Arc<Segment>, Option<SegmentHeader>);

/// Whatever else is wrong with the log: a later segment proves that there was a header.
fn all_begun(opened: Vec<Opened>) -> Result<Vec<(Arc<Segment>, SegmentHeader)>, OpenError> {
    let begun = opened.into_iter().map(|(segment, header)| {
        let Some(header) = header else {
            let what = "its header is gone, though a later segment exists";
            return Err(Damage::new(&segment.path, 0, what).into());
        };
        Ok((segment, header))
    });
    begun.collect()
}

/// Opens a listed segment and reads its header; none if it is not begun.
fn open_segment(
    disk: &dyn Disk,
    dir: &Path,
    incarnation: u64,
    number: u64,
) -> Result<Opened, OpenError> {
    let path = segment_path(dir, number);
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Damage::new(path, 0, "the segment is missing").into());
        }
        other => other.map_err(|error| OpenError::io(&path, error))?,
    };
    let bytes = file.length().map_err(|error| OpenError::io(&path, error))?;
    let segment = Arc::new(Segment {
        number,
        path,
        file,
        bytes,
    });
    let header = read_header(&segment, incarnation)?;
    Ok((segment, header))
}

pub(crate) fn read_header(
    segment: &Segment,
    incarnation: u64,
) -> Result<Option<SegmentHeader>, OpenError> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let filled = segment
        .file
        .read_at(&mut header, 0)
        .map_err(|error| OpenError::io(&segment.path, error))?;
    let identity = segment_identity(incarnation, segment.number);
    match SegmentHeader::parse(&header[..filled], identity) {
        Beginning::Begun(header) => Ok(Some(header)),
        Beginning::NotBegun => Ok(None),
        Beginning::Newer(version) => Err(newer(&segment.path, version)),
    }
}

/// The walk along the chain.
struct Scan {
    groups: BTreeMap<u64, Group>,
    chain: Chain,
    incarnation: u64,
}

impl Scan {
    /// Takes over a segment's batches, up to where the next segment says that this one ended, if there is a next.
    fn segment(
        &mut self,
        segment: &Segment,
        header: &SegmentHeader,
        stop: Option<u64>,
        oldest: bool,
    ) -> Result<End, OpenError> {
        if oldest {
            self.chain = header.chain;
        } else if self.chain != header.chain {
            let what = "it does not continue the segment before it";
            return Err(Damage::new(&segment.path, 0, what).into());
        }
        let identity = segment_identity(self.incarnation, segment.number);
        let mut window = Window::new(segment);
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let mut newest = None;
        while stop.is_none_or(|stop| offset < stop) {
            let Some((header, body)) = self.next_batch(&mut window, identity, offset)? else {
                let torn = self.judge(&mut window, identity, offset, stop.is_some(), oldest)?;
                return Ok(End {
                    offset,
                    newest,
                    torn,
                });
            };
            let first = offset == SEGMENT_HEADER_BYTES as u64;
            if header.opening != first {
                let what = "the groups' state is not where it should be";
                return Err(Damage::new(&segment.path, offset, what).into());
            }
            let begin = if first { 0 } else { offset };
            let end = offset + batch_bytes(body.len()) as u64;
            newest = Some(begin..end);
            let place = Place {
                segment,
                body: offset + BATCH_HEADER_BYTES as u64,
                oldest,
            };
            self.take_over(body, &place)?;
            self.chain = Chain {
                next: header.number + 1,
                checksum: header.checksum,
            };
            offset = end;
        }
        Ok(End {
            offset,
            newest,
            torn: false,
        })
    }

    /// The batch at `offset`, if it is the one that continues the chain, whole.
    fn next_batch(
        &self,
        window: &mut Window<'_>,
        identity: u64,
        offset: u64,
    ) -> Result<Option<(BatchHeader, Bytes)>, OpenError> {
        let header = BatchHeader::parse(window.at(offset, BATCH_HEADER_BYTES as u64)?, identity);
        let Some(header) = header else {
            return Ok(None);
        };
        let body = offset + BATCH_HEADER_BYTES as u64;
        let continues = header.number == self.chain.next && header.previous == self.chain.checksum;
        // A length beyond the file is never believed, so it allocates nothing (P48).
        if !continues || body + u64::from(header.length) > window.segment.bytes {
            return Ok(None);
        }
        let bytes = window.at(body, u64::from(header.length))?;
        let whole =
            bytes.len() == header.length as usize && crc32c::crc32c(bytes) == header.body_checksum;
        Ok(whole.then(|| (header, Bytes::copy_from_slice(bytes))))
    }

    /// Rule 3: what does not continue the chain is damage if anything vouches that it was flushed; else it is an
    /// unfinished write (true) or nothing at all (false).
    fn judge(
        &self,
        window: &mut Window<'_>,
        identity: u64,
        offset: u64,
        followed: bool,
        oldest: bool,
    ) -> Result<bool, OpenError> {
        if planted!(P47) {
            return Ok(true);
        }
        let path = &window.segment.path;
        if followed {
            let what = "the batch there was flushed before the next segment was begun";
            return Err(Damage::new(path, offset, what).into());
        }
        if oldest && offset == SEGMENT_HEADER_BYTES as u64 {
            let what = "the log's first batch was flushed when it was made, and is not valid";
            return Err(Damage::new(path, offset, what).into());
        }
        if let Some(voucher) = self.voucher(window, identity, offset + ALIGNMENT as u64)? {
            let path = &window.segment.path;
            let what = format!("the batch there was flushed before the one at byte {voucher}");
            return Err(Damage::new(path, offset, what).into());
        }
        let bytes = window.at(offset, BATCH_HEADER_BYTES as u64)?;
        Ok(BatchHeader::resembles(bytes, identity))
    }

    /// A later batch of this segment: its header alone proves that all before it was flushed.
    fn voucher(
        &self,
        window: &mut Window<'_>,
        identity: u64,
        from: u64,
    ) -> Result<Option<u64>, OpenError> {
        let header_bytes = BATCH_HEADER_BYTES as u64;
        let mut offset = from;
        while offset + header_bytes <= window.segment.bytes {
            let bytes = window.at(offset, WINDOW_BYTES)?;
            let places =
                (0..(bytes.len() + 1).saturating_sub(BATCH_HEADER_BYTES)).step_by(ALIGNMENT);
            let count = places.len();
            for place in places {
                let header = BatchHeader::parse(&bytes[place..], identity);
                if header.is_some_and(|header| header.number > self.chain.next) {
                    return Ok(Some(offset + place as u64));
                }
            }
            offset += (count.max(1) * ALIGNMENT) as u64;
        }
        Ok(None)
    }

    /// Looks into a segment that is listed and not begun: a later batch in it proves that its beginning is damaged.
    fn torn_beginning(&self, segment: &Segment) -> Result<Option<Torn>, OpenError> {
        let identity = segment_identity(self.incarnation, segment.number);
        let mut window = Window::new(segment);
        let first = SEGMENT_HEADER_BYTES as u64;
        if let Some(voucher) = self.voucher(&mut window, identity, first)? {
            let what = format!("its beginning was flushed before the batch at byte {voucher}");
            return Err(Damage::new(&segment.path, 0, what).into());
        }
        let bytes = window.at(first, BATCH_HEADER_BYTES as u64)?;
        // Of another segment, it is what a file that is used again has held before.
        Ok(BatchHeader::is_of(bytes, identity).then(|| Torn {
            file: segment.path.clone(),
            offset: 0,
        }))
    }

    fn take_over(&mut self, mut body: Bytes, place: &Place<'_>) -> Result<(), OpenError> {
        let total = body.len();
        while !body.is_empty() {
            let offset = place.body + (total - body.len()) as u64;
            let damaged = |what: String| Damage::new(&place.segment.path, offset, what);
            let record = decode_record(&mut body, total).map_err(|bad| match bad {
                BadRecord::Decode(error) => damaged(format!("a record makes no sense: {error}")),
                BadRecord::Entry(offset) => Damage::new(
                    &place.segment.path,
                    place.body + offset,
                    "an entry does not match its checksum",
                ),
            })?;
            self.apply(record, place).map_err(damaged)?;
        }
        Ok(())
    }

    fn apply(&mut self, record: Record, place: &Place<'_>) -> Result<(), String> {
        match record {
            Record::Opening { group: id, state } if place.oldest => {
                self.groups.insert(id, state);
            }
            Record::Opening { group: id, state } => {
                if !self
                    .groups
                    .get(&id)
                    .is_some_and(|known| known.agrees(&state))
                {
                    return Err(format!("group {id} stood elsewhere when the segment began"));
                }
            }
            Record::Write {
                group: id,
                hard_state,
                base,
                entries,
                mut runs,
            } => {
                runs.iter_mut().for_each(|run| place.settle(run));
                let group = self.groups.entry(id).or_default();
                if !group.takes_after(base.as_ref(), &entries) {
                    return Err(format!("entries of group {id} do not follow its log"));
                }
                group.apply(hard_state, base.as_ref(), &entries, &runs);
            }
        }
        Ok(())
    }

    /// Every entry above its group's base must be somewhere.
    fn check_groups(&self, active: &Segment) -> Result<(), OpenError> {
        for (id, group) in &self.groups {
            let first = group.base.position.index + 1;
            let held = group.runs.front().is_some_and(|run| run.first <= first);
            if group.last >= first && !held {
                let what = format!("entries of group {id} from {first} on are in no segment");
                return Err(Damage::new(&active.path, 0, what).into());
            }
        }
        Ok(())
    }
}

/// Where a body stands.
struct Place<'a> {
    segment: &'a Segment,
    body: u64,
    oldest: bool,
}

impl Place<'_> {
    fn settle(&self, run: &mut Run) {
        run.span.segment = self.segment.number;
        run.span.offset += self.body;
    }
}

/// A piece of a segment held in memory, moved along as needed.
struct Window<'a> {
    segment: &'a Segment,
    begin: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            begin: 0,
            bytes: Vec::new(),
        }
    }

    /// The bytes there; fewer at the end of the file, and never more memory than the file is long.
    fn at(&mut self, offset: u64, length: u64) -> Result<&[u8], OpenError> {
        let offset = offset.min(self.segment.bytes);
        let end = (offset + length).min(self.segment.bytes);
        if offset < self.begin || end > self.begin + self.bytes.len() as u64 {
            let wanted = length.max(WINDOW_BYTES).min(self.segment.bytes - offset);
            self.bytes.resize(wanted as usize, 0);
            let filled = self
                .segment
                .file
                .read_at(&mut self.bytes, offset)
                .map_err(|error| OpenError::io(&self.segment.path, error))?;
            self.bytes.truncate(filled);
            self.begin = offset;
        }
        let held = self.bytes.len();
        let from = ((offset - self.begin) as usize).min(held);
        let to = ((end - self.begin) as usize).min(held);
        Ok(&self.bytes[from..to])
    }
}
