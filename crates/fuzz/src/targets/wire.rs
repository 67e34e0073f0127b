//! What stands around messages on a connection: frames, and the handshake before them.

use std::io::{self, Read};

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft_core::{Codec, Message, ReplicaId};
use little_raft_net::fuzzing::{answer, frame, frames, greeting, read_answer, read_greeting};
use little_raft_net::{Hello, Options};

use crate::memory::within;
use crate::mutate::{mutate, number_at, put_checksum};
use crate::values::{id, message, number, some};

const HEADER_BYTES: usize = 12;
/// What a connection has to read into, and as much again for a frame that only begins.
const SLACK_BYTES: usize = 256 << 10;
const BYTES_A_BYTE: usize = 4;

pub fn run_frames(u: &mut Unstructured<'_>) -> Result<()> {
    let messages = some(u, message)?;
    let whole: Vec<Bytes> = messages.iter().map(frame).collect();
    let whole = whole.concat();
    let read = read_all(&mut Dribble::new(u, &whole)?, whole.len()).expect("they are intact");
    let read: Vec<Message> = read
        .into_iter()
        .map(|payload| Message::from_bytes(payload).expect("it is intact"))
        .collect();
    assert_eq!(read, messages);
    let mut damaged = whole;
    mutate(u, &mut damaged)?;
    if u.arbitrary()? {
        mend(&mut damaged);
    }
    drop(read_all(&mut Dribble::new(u, &damaged)?, damaged.len()));
    Ok(())
}

fn read_all(
    source: &mut Dribble<'_>,
    bytes: usize,
) -> std::result::Result<Vec<Bytes>, little_raft_net::Reason> {
    let bound = BYTES_A_BYTE * bytes + SLACK_BYTES;
    within(bound, || frames(source, &Options::default()))
}

/// Makes the checksums of all frames right, as far as they can be told apart.
fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        let length = number_at(bytes, at) as usize;
        let end = at.saturating_add(HEADER_BYTES).saturating_add(length);
        let Some(payload) = bytes.get(at + HEADER_BYTES..end) else {
            return;
        };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 8]), payload);
        bytes[at + 8..at + HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
}

/// Gives what it has in pieces of any size, as a socket does.
struct Dribble<'a> {
    rest: &'a [u8],
    pieces: Vec<u16>,
    next: usize,
}

impl<'a> Dribble<'a> {
    fn new(u: &mut Unstructured<'_>, rest: &'a [u8]) -> Result<Self> {
        let pieces = some(u, |u| u.int_in_range(1..=200))?;
        Ok(Self {
            rest,
            pieces,
            next: 0,
        })
    }
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = match self.pieces.get(self.next % self.pieces.len().max(1)) {
            Some(piece) => usize::from(*piece),
            None => usize::MAX,
        };
        self.next += 1;
        let count = piece.min(self.rest.len()).min(buffer.len());
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

pub fn run_handshake(u: &mut Unstructured<'_>) -> Result<()> {
    let (who, wanted) = (hello(u)?, id(u)?);
    let address = u.choose(&["", "127.0.0.1:7001", "größe:1"])?;
    let mut greeting = greeting(who, wanted, address).to_vec();
    assert_eq!(read_greeting(&greeting), Ok(who));
    let text = u.arbitrary::<String>()?;
    let said = match u.arbitrary()? {
        true => Ok(who),
        false => Err(text),
    };
    let mut answer = answer(said.clone()).to_vec();
    let read = read_answer(&answer).expect("it is intact");
    assert_eq!(read.is_ok(), said.is_ok());
    for bytes in [&mut greeting, &mut answer] {
        mutate(u, bytes)?;
        if u.arbitrary()? {
            mend_handshake(bytes);
        }
        let bound = BYTES_A_BYTE * bytes.len() + SLACK_BYTES;
        within(bound, || {
            drop(read_greeting(bytes));
            drop(read_answer(bytes));
        });
    }
    Ok(())
}

fn hello(u: &mut Unstructured<'_>) -> Result<Hello> {
    Ok(Hello {
        cluster: number(u)?,
        replica: ReplicaId(number(u)?),
        incarnation: number(u)?,
        boot: number(u)?,
    })
}

/// What it says is its length is so, and so is its checksum.
fn mend_handshake(bytes: &mut [u8]) {
    let Some(rest) = bytes.len().checked_sub(8).filter(|rest| *rest >= 4) else {
        return;
    };
    bytes[6..8].copy_from_slice(&(rest as u16).to_le_bytes());
    let end = bytes.len() - 4;
    put_checksum(bytes, end, 0..end);
}
