//! Frames: how a message stands in the stream of a connection. `FORMAT.md` draws the bytes.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use little_raft_core::{Codec, Message};

use crate::{Options, Reason};

/// Length, version, three zero bytes, checksum.
pub(crate) const HEADER_BYTES: usize = 12;
const FRAME_VERSION: u8 = 1;

/// What is read at once, if more than one small frame has arrived.
const CHUNK_BYTES: usize = 64 << 10;
/// From here on a frame that is not yet whole gets a buffer of its own and is not copied again.
const LARGE_BYTES: usize = 16 << 10;

/// The message as a frame.
pub(crate) fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + message.bytes());
    out.resize(HEADER_BYTES, 0);
    message.encode(&mut out);
    let length =
        u32::try_from(out.len() - HEADER_BYTES).expect("payload limits are far below 4 GiB");
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4] = FRAME_VERSION;
    let checksum = checksum(&out[..8], &out[HEADER_BYTES..]);
    out[8..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out.freeze()
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}

/// Why no more frames can be had from a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The stream ended or broke; nobody is to blame.
    Closed,
    /// The other side does not keep to the protocol.
    Fault(Reason),
}

#[derive(Clone, Copy)]
struct Header {
    raw: [u8; 8],
    length: usize,
    checksum: u32,
}

/// Cuts a stream into frames.
///
/// A frame's payload always has memory of its own, so that an entry that is kept for long never pins its neighbours.
pub(crate) struct Frames {
    chunk: Box<[u8]>,
    /// Invariant: `start <= end <= chunk.len()`; between them lies what is read but not yet taken.
    start: usize,
    end: usize,
    limit: usize,
    grace: Duration,
    bytes_per_second: u32,
    /// When we began to wait for the rest of a frame.
    begun: Option<Instant>,
}

impl Frames {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            limit: options.max_frame_bytes,
            grace: options.frame_timeout,
            bytes_per_second: options.min_frame_bytes_per_second.max(1),
            begun: None,
        }
    }

    /// The next frame's payload. `source` may time out at any moment: that is when the pace is checked.
    pub(crate) fn next(&mut self, source: &mut impl Read) -> Result<Bytes, End> {
        loop {
            let header = self.header()?;
            match header {
                Some(header) if self.waiting() >= HEADER_BYTES + header.length => {
                    return self.take(header);
                }
                Some(header) if header.length >= LARGE_BYTES => {
                    return self.take_large(header, source);
                }
                _ => self.fill(source)?,
            }
        }
    }

    fn waiting(&self) -> usize {
        self.end - self.start
    }

    fn header(&self) -> Result<Option<Header>, End> {
        let mut bytes = &self.chunk[self.start..self.end];
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut raw = [0; 8];
        raw.copy_from_slice(&bytes[..8]);
        let length = bytes.get_u32_le() as usize;
        if raw[4..] != [FRAME_VERSION, 0, 0, 0] {
            return Err(End::Fault(Reason::Damaged("unknown frame version")));
        }
        if length > self.limit {
            return Err(End::Fault(Reason::TooBig {
                bytes: length,
                limit: self.limit,
            }));
        }
        bytes.advance(4);
        Ok(Some(Header {
            raw,
            length,
            checksum: bytes.get_u32_le(),
        }))
    }

    fn take(&mut self, header: Header) -> Result<Bytes, End> {
        let from = self.start + HEADER_BYTES;
        let payload = Bytes::copy_from_slice(&self.chunk[from..from + header.length]);
        self.start = from + header.length;
        self.finish(header, payload)
    }

    fn take_large(&mut self, header: Header, source: &mut impl Read) -> Result<Bytes, End> {
        let mut payload = self.chunk[self.start + HEADER_BYTES..self.end].to_vec();
        (self.start, self.end) = (0, 0);
        let mut have = payload.len();
        while have < header.length {
            // Rule 11: memory grows with what has arrived, not with what was announced.
            if have == payload.capacity() {
                let step = have.clamp(CHUNK_BYTES, 1 << 20);
                payload.reserve_exact(step.min(header.length - have));
            }
            if have == payload.len() {
                let room = payload.capacity().min(header.length);
                payload.resize((have + CHUNK_BYTES).min(room), 0);
            }
            self.begun.get_or_insert_with(Instant::now);
            have += read(source, &mut payload[have..], || self.check_pace(have))?;
            self.check_pace(have)?;
        }
        self.finish(header, Bytes::from(payload))
    }

    fn finish(&mut self, header: Header, payload: Bytes) -> Result<Bytes, End> {
        self.begun = None;
        if checksum(&header.raw, &payload) == header.checksum {
            Ok(payload)
        } else {
            Err(End::Fault(Reason::Damaged("checksum mismatch")))
        }
    }

    fn fill(&mut self, source: &mut impl Read) -> Result<(), End> {
        let have = self.waiting();
        self.chunk.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, have);
        if have > 0 {
            self.begun.get_or_insert_with(Instant::now);
            self.check_pace(have)?;
        }
        let (begun, grace, pace) = (self.begun, self.grace, self.bytes_per_second);
        self.end += read(source, &mut self.chunk[have..], || {
            check_pace(begun, grace, pace, have)
        })?;
        Ok(())
    }

    fn check_pace(&self, have: usize) -> Result<(), End> {
        check_pace(self.begun, self.grace, self.bytes_per_second, have)
    }
}

fn check_pace(
    begun: Option<Instant>,
    grace: Duration,
    bytes_per_second: u32,
    have: usize,
) -> Result<(), End> {
    let earned = Duration::from_secs_f64(have as f64 / f64::from(bytes_per_second));
    match begun {
        Some(begun) if begun.elapsed() > grace + earned => Err(End::Fault(Reason::TooSlow)),
        _ => Ok(()),
    }
}

/// Reads at least a byte; `timed_out` decides whether to go on when the source's own timeout passes.
fn read(
    source: &mut impl Read,
    room: &mut [u8],
    timed_out: impl Fn() -> Result<(), End>,
) -> Result<usize, End> {
    loop {
        match source.read(room) {
            Ok(0) => return Err(End::Closed),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                timed_out()?;
            }
            Err(_) => return Err(End::Closed),
        }
    }
}
