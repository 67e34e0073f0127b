//! What stands in a batch: the state of every group where a segment opens, then the writes.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use little_raft_core::{Base, Codec, DecodeError, Entry, HardState, Write};

use crate::group::{Group, Run, Span};

const OPENING: u8 = 1;
const WRITE: u8 = 2;

/// A framed entry: length and checksum of everything but the payload, which has its own checksum.
pub(crate) const FRAME_BYTES: usize = 8;

/// A long write is indexed every so many bytes, so that a read near its end need not begin at its start.
const RUN_BYTES: usize = 64 << 10;

/// One record of a batch.
pub(crate) enum Record {
    /// Where a group stood when the segment opened.
    Opening { group: u64, state: Group },
    /// A write; `runs` say where its entries are, counted from the start of the body.
    Write {
        group: u64,
        hard_state: HardState,
        base: Option<Base>,
        entries: Vec<Entry>,
        runs: Vec<Run>,
    },
}

/// Why a body makes no sense though its checksum matches.
pub(crate) enum BadRecord {
    Decode(DecodeError),
    Entry(u64),
}

impl From<DecodeError> for BadRecord {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

pub(crate) fn encode_opening(groups: &BTreeMap<u64, Group>, out: &mut BytesMut) {
    for (id, group) in groups {
        out.put_u8(OPENING);
        id.encode(out);
        group.hard_state.encode(out);
        group.base.encode(out);
        group.terms.encode(out);
        group.last.encode(out);
    }
}

/// Appends the write to `out`, whose batch's body begins at `body`, and says where its entries are.
pub(crate) fn encode_write(group: u64, write: &Write, body: usize, out: &mut BytesMut) -> Vec<Run> {
    out.put_u8(WRITE);
    group.encode(out);
    write.hard_state.encode(out);
    write.base.as_deref().cloned().encode(out);
    (write.entries.len() as u32).encode(out);
    let mut runs = Vec::new();
    for entry in write.entries.iter() {
        let begin = out.len();
        encode_entry(entry, out);
        let (offset, bytes) = (begin - body, out.len() - begin);
        extend(&mut runs, entry.position.index, offset, bytes);
    }
    runs
}

fn extend(runs: &mut Vec<Run>, index: u64, offset: usize, bytes: usize) {
    match runs.last_mut() {
        Some(run) if (run.span.bytes as usize) < RUN_BYTES => {
            run.count += 1;
            run.span.bytes += bytes as u64;
        }
        _ => runs.push(Run {
            first: index,
            count: 1,
            span: Span {
                segment: 0,
                offset: offset as u64,
                bytes: bytes as u64,
            },
        }),
    }
}

fn encode_entry(entry: &Entry, out: &mut BytesMut) {
    let begin = out.len();
    out.put_u64_le(0);
    entry.encode(out);
    let length = out.len() - begin - FRAME_BYTES;
    let fixed = begin + FRAME_BYTES..out.len() - entry.payload.len();
    let checksum = crc32c::crc32c(&out[fixed]);
    out[begin..begin + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[begin + 4..begin + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Takes one framed entry off the front, whole and unchanged since it was proposed, or nothing.
pub(crate) fn decode_entry(input: &mut Bytes) -> Option<Entry> {
    if input.len() < FRAME_BYTES {
        return None;
    }
    let (length, checksum) = (input.get_u32_le() as usize, input.get_u32_le());
    if input.len() < length {
        return None;
    }
    let framed = input.split_to(length);
    let entry = Entry::from_bytes(framed.clone()).ok()?;
    let fixed = &framed[..length - entry.payload.len()];
    let sound = crc32c::crc32c(fixed) == checksum && entry_is_sound(&entry);
    sound.then_some(entry)
}

/// Whether the payload is the one that the checksum was made for.
pub(crate) fn entry_is_sound(entry: &Entry) -> bool {
    crc32c::crc32c(&entry.payload) == entry.checksum
}

/// Takes one record off the front of a body that was `total` bytes long.
pub(crate) fn decode_record(input: &mut Bytes, total: usize) -> Result<Record, BadRecord> {
    match u8::decode(input)? {
        OPENING => Ok(Record::Opening {
            group: Codec::decode(input)?,
            state: Group {
                hard_state: Codec::decode(input)?,
                base: Codec::decode(input)?,
                terms: Codec::decode(input)?,
                last: Codec::decode(input)?,
                memberships: Vec::new(),
                runs: VecDeque::new(),
            },
        }),
        WRITE => decode_write(input, total),
        other => Err(DecodeError::Unknown("log record", u64::from(other)).into()),
    }
}

fn decode_write(input: &mut Bytes, total: usize) -> Result<Record, BadRecord> {
    let group = Codec::decode(input)?;
    let hard_state = Codec::decode(input)?;
    let base = Codec::decode(input)?;
    let count = u32::decode(input)?;
    let (mut entries, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let offset = total - input.len();
        let entry = decode_entry(input).ok_or(BadRecord::Entry(offset as u64))?;
        let bytes = total - input.len() - offset;
        extend(&mut runs, entry.position.index, offset, bytes);
        entries.push(entry);
    }
    Ok(Record::Write {
        group,
        hard_state,
        base,
        entries,
        runs,
    })
}
