//! A snapshot as a stream of pieces, with a checksum over the whole at its end.

use std::io::{self, Read, Write};

use bytes::Bytes;
use little_raft_core::Codec;

use super::sessions::Sessions;
use crate::machine::{Snapshot, StateMachine};

/// How a stream begins: what it is, and in which version.
const MAGIC: [u8; 4] = *b"LRS1";
/// How long its checksum is, at the very end.
pub const TRAILER_BYTES: usize = 4;

/// A view of all that is replicated. As a stream: magic, length of the sessions, sessions, the machine's bytes, and the
/// CRC-32C of it all, so that what arrives is checked end to end. What is saved and what is sent are the same bytes.
#[derive(Debug)]
pub struct Whole<V> {
    /// The sessions' encoding.
    pub sessions: Bytes,
    /// The machine's own.
    pub view: V,
}

impl<V: Snapshot> Snapshot for Whole<V> {
    fn write_to(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut summed = Summed { out, checksum: 0 };
        summed.write_all(&MAGIC)?;
        summed.write_all(&(self.sessions.len() as u32).to_le_bytes())?;
        summed.write_all(&self.sessions)?;
        self.view.write_to(&mut summed)?;
        let checksum = summed.checksum;
        out.write_all(&checksum.to_le_bytes())?;
        out.flush()
    }
}

/// Brings the machine to what a [`Whole`] was made of, and gives the sessions.
///
/// # Errors
/// If the stream is damaged or of another version, and those of stream and machine. The machine must not be used then.
pub fn restore<M: StateMachine>(
    machine: &mut M,
    stream: impl Read + Send + 'static,
) -> io::Result<Sessions> {
    let mut stream = TrailerReader::new(Box::new(stream));
    let sessions = read_sessions(&mut stream)?;
    machine.restore(&mut stream)?;
    stream.verify()?;
    Ok(sessions)
}

fn read_sessions(stream: &mut dyn Read) -> io::Result<Sessions> {
    let (mut magic, mut length) = ([0; 4], [0; 4]);
    let begun = stream.read_exact(&mut magic);
    if begun.is_err() || magic != MAGIC {
        return Err(invalid("the snapshot is damaged, or of another version"));
    }
    stream.read_exact(&mut length)?;
    let (length, mut sessions) = (u64::from(u32::from_le_bytes(length)), Vec::new());
    stream.take(length).read_to_end(&mut sessions)?;
    let sessions = Sessions::from_bytes(sessions.into());
    sessions.map_err(|_| invalid("the snapshot is damaged: its sessions can't be read"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

struct Summed<'a> {
    out: &'a mut dyn Write,
    checksum: u32,
}

impl Write for Summed<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        self.checksum = crc32c::crc32c_append(self.checksum, &data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a stream that ends in its checksum, and ends before it.
struct TrailerReader {
    stream: Box<dyn Read + Send>,
    /// Read from the stream; the last four bytes of it may be the trailer.
    ahead: Vec<u8>,
    at: usize,
    ended: bool,
    checksum: u32,
}

impl TrailerReader {
    fn new(stream: Box<dyn Read + Send>) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            at: 0,
            ended: false,
            checksum: 0,
        }
    }

    /// Reads on to the end and compares the checksum.
    fn verify(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let trailer: Option<[u8; TRAILER_BYTES]> = self.ahead[self.at..].try_into().ok();
        if trailer == Some(self.checksum.to_le_bytes()) {
            Ok(())
        } else {
            Err(invalid("the snapshot is damaged: its checksum differs"))
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ahead.drain(..self.at);
        self.at = 0;
        let held = self.ahead.len();
        self.ahead.resize(held + 64 * 1024, 0);
        let count = self.stream.read(&mut self.ahead[held..])?;
        self.ahead.truncate(held + count);
        self.ended = count == 0;
        Ok(())
    }
}

impl Read for TrailerReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.ahead.len() - self.at <= TRAILER_BYTES && !self.ended {
            self.fill()?;
        }
        let count = (self.ahead.len() - self.at)
            .saturating_sub(TRAILER_BYTES)
            .min(out.len());
        out[..count].copy_from_slice(&self.ahead[self.at..self.at + count]);
        self.checksum = crc32c::crc32c_append(self.checksum, &out[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Whether bytes with this CRC-32C are a whole stream: those that end in the CRC-32C of what is before it all have the
/// same.
pub fn is_whole(checksum: u32) -> bool {
    checksum == 0x4867_4bc7
}

/// Cuts what is written to it into pieces, and hands each on with its offset and whether it is the last.
///
/// A full piece is handed on only when more follows, so that the last one is known as such.
pub struct PieceWriter<F> {
    piece: Vec<u8>,
    piece_bytes: usize,
    offset: u64,
    hand_on: F,
}

impl<F: FnMut(u64, Vec<u8>, bool) -> io::Result<()>> PieceWriter<F> {
    /// Pieces of at most `piece_bytes`, for `hand_on(offset, data, done)`, of what begins at `offset`.
    pub fn new(offset: u64, piece_bytes: usize, hand_on: F) -> Self {
        Self {
            piece: Vec::with_capacity(piece_bytes),
            piece_bytes,
            offset,
            hand_on,
        }
    }

    /// Hands the last piece on.
    ///
    /// # Errors
    /// Those of `hand_on`.
    pub fn finish(mut self) -> io::Result<()> {
        (self.hand_on)(self.offset, std::mem::take(&mut self.piece), true)
    }
}

impl<F: FnMut(u64, Vec<u8>, bool) -> io::Result<()>> Write for PieceWriter<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.piece.len() == self.piece_bytes && !data.is_empty() {
            let full = std::mem::replace(&mut self.piece, Vec::with_capacity(self.piece_bytes));
            let at = self.offset;
            self.offset += full.len() as u64;
            (self.hand_on)(at, full, false)?;
        }
        let count = data.len().min(self.piece_bytes - self.piece.len());
        self.piece.extend_from_slice(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Keeps what it is restored from.
    #[derive(Default)]
    struct Copy(Vec<u8>);

    impl StateMachine for Copy {
        type Response = ();
        type Snapshot = Vec<u8>;
        fn apply(&mut self, _: crate::Entry<'_>) {}
        fn snapshot(&self) -> io::Result<Vec<u8>> {
            Ok(self.0.clone())
        }
        fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
            self.0.clear();
            snapshot.read_to_end(&mut self.0).map(|_| ())
        }
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.register(7);
        sessions
    }

    fn stream(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut whole = Whole {
            sessions: sessions().to_bytes(),
            view: data.to_vec(),
        };
        whole.write_to(&mut out).expect("memory takes it");
        out
    }

    fn read_back(stream: Vec<u8>) -> io::Result<(Vec<u8>, Sessions)> {
        let mut machine = Copy::default();
        let sessions = restore(&mut machine, Box::new(Cursor::new(stream)))?;
        Ok((machine.0, sessions))
    }

    #[test]
    fn what_was_written_is_read_back_and_verified() {
        for bytes in [0, 1, 4, 5, 70_000, 200_000] {
            let data: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            let back = read_back(stream(&data)).expect("it is whole");
            assert_eq!(back, (data, sessions()));
        }
    }

    #[test]
    fn a_flipped_bit_or_a_lost_tail_is_found() {
        let whole = stream(b"some state");
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            assert!(read_back(bad).is_err(), "byte {at}");
            assert!(read_back(whole[..at].to_vec()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn pieces_follow_each_other_and_only_the_last_is_marked() {
        for bytes in [0, 1, 9, 10, 11, 35] {
            let mut pieces = Vec::new();
            let mut writer = PieceWriter::new(0, 10, |offset, data, done| {
                pieces.push((offset, data, done));
                Ok(())
            });
            writer.write_all(&vec![7; bytes]).expect("room");
            writer.finish().expect("room");
            let total: usize = pieces.iter().map(|(_, data, _)| data.len()).sum();
            assert_eq!(total, bytes);
            assert!(pieces.iter().rev().skip(1).all(|(_, _, done)| !done));
            assert!(pieces.last().expect("one at least").2);
        }
    }
}
