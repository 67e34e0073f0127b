//! A snapshot as a stream of pieces, with a checksum over the whole at its end.

use std::io::{self, Read, Write};

use crate::machine::Snapshot;

/// The whole stream is the machine's bytes, then their CRC-32C: what arrives is checked end to end before it is used.
pub struct Trailer;

const TRAILER_BYTES: usize = 4;

impl Trailer {
    /// Writes the whole view and its checksum.
    ///
    /// # Errors
    /// Those of the view and of `out`.
    pub fn write(view: &mut dyn Snapshot, out: &mut dyn Write) -> io::Result<()> {
        let mut summed = Summed { out, checksum: 0 };
        view.write_to(&mut summed)?;
        let checksum = summed.checksum;
        out.write_all(&checksum.to_le_bytes())?;
        out.flush()
    }

    /// Reads the machine's bytes back.
    pub fn reader(stream: Box<dyn Read + Send>) -> TrailerReader {
        TrailerReader {
            stream,
            ahead: Vec::new(),
            at: 0,
            ended: false,
            checksum: 0,
        }
    }
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
pub struct TrailerReader {
    stream: Box<dyn Read + Send>,
    /// Read from the stream; the last four bytes of it may be the trailer.
    ahead: Vec<u8>,
    at: usize,
    ended: bool,
    checksum: u32,
}

impl TrailerReader {
    /// Reads on to the end and compares the checksum.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it differs; those of the stream.
    pub fn verify(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let trailer: Option<[u8; TRAILER_BYTES]> = self.ahead[self.at..].try_into().ok();
        if trailer == Some(self.checksum.to_le_bytes()) {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the snapshot is damaged: its checksum differs",
            ))
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

/// Checks a stream that arrives in pieces.
#[derive(Default)]
pub struct Tail {
    /// The last bytes so far, which may be the trailer.
    held: Vec<u8>,
    checksum: u32,
}

impl Tail {
    /// The next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
        let body = self.held.len().saturating_sub(TRAILER_BYTES);
        self.checksum = crc32c::crc32c_append(self.checksum, &self.held[..body]);
        self.held.drain(..body);
    }

    /// Whether what has arrived is whole.
    pub fn is_valid(&self) -> bool {
        self.held == self.checksum.to_le_bytes()
    }
}

/// A view with its trailer, as a view: what is saved and what is sent are the same bytes.
pub struct CopyTo<V>(pub V);

impl<V: Snapshot> Snapshot for CopyTo<V> {
    fn write_to(&mut self, out: &mut dyn Write) -> io::Result<()> {
        Trailer::write(&mut self.0, out)
    }
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
    /// Pieces of at most `piece_bytes`, for `hand_on(offset, data, done)`.
    pub fn new(piece_bytes: usize, hand_on: F) -> Self {
        Self {
            piece: Vec::with_capacity(piece_bytes),
            piece_bytes,
            offset: 0,
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

    fn stream(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Trailer::write(&mut data.to_vec(), &mut out).expect("memory takes it");
        out
    }

    #[test]
    fn what_was_written_is_read_back_and_verified() {
        for bytes in [0, 1, 4, 5, 70_000, 200_000] {
            let data: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            let mut reader = Trailer::reader(Box::new(Cursor::new(stream(&data))));
            let mut back = Vec::new();
            reader.read_to_end(&mut back).expect("it is whole");
            assert_eq!(back, data);
            reader.verify().expect("the checksum is right");
        }
    }

    #[test]
    fn a_flipped_bit_or_a_lost_tail_is_found() {
        let whole = stream(b"some state");
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            let reader = Trailer::reader(Box::new(Cursor::new(bad)));
            assert!(reader.verify().is_err(), "byte {at}");
            let reader = Trailer::reader(Box::new(Cursor::new(whole[..at].to_vec())));
            assert!(reader.verify().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn pieces_follow_each_other_and_only_the_last_is_marked() {
        for bytes in [0, 1, 9, 10, 11, 35] {
            let mut pieces = Vec::new();
            let mut writer = PieceWriter::new(10, |offset, data, done| {
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
