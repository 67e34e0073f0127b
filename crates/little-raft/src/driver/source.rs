//! What is sent to a follower that needs a snapshot.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use little_raft_core::Base;
use little_raft_core::message::{self, Content};

use super::pieces::{TRAILER_BYTES, Whole};
use crate::machine::Snapshot;
use crate::storage::SnapshotStream;

const BUFFER_BYTES: usize = 256 << 10;

/// A snapshot that is kept, or a view that is written out as it is sent. Both can be sent from anywhere on, as often as
/// followers break off.
pub struct Source<V> {
    label: Label,
    form: Form<V>,
}

/// What stands on each piece of it.
#[derive(Clone)]
pub struct Label {
    base: Base,
    content: Content,
}

enum Form<V> {
    Kept(Box<dyn SnapshotStream>),
    Made(Whole<V>),
}

impl<V: Snapshot> Source<V> {
    /// A snapshot that is kept.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn kept(base: Base, mut stream: Box<dyn SnapshotStream>) -> io::Result<Self> {
        // Not a checksum of all its bytes, which end in their own: that is the same for all contents.
        let mut trailer = [0; TRAILER_BYTES];
        let place = stream.seek(SeekFrom::End(-(TRAILER_BYTES as i64)))?;
        stream.read_exact(&mut trailer)?;
        let content = Content::Kept {
            length: place + TRAILER_BYTES as u64,
            checksum: u32::from_le_bytes(trailer),
        };
        Ok(Self {
            label: Label { base, content },
            form: Form::Kept(stream),
        })
    }

    /// A view, made for the transfer of this number.
    pub fn made(base: Base, transfer: u64, view: Whole<V>) -> Self {
        let content = Content::Made(transfer);
        Self {
            label: Label { base, content },
            form: Form::Made(view),
        }
    }

    /// What stands on each piece of it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Writes all from `offset` on.
    ///
    /// # Errors
    /// Those of reading and of `out`, and if it ends before `offset`.
    pub fn write_from(&mut self, offset: u64, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.form {
            Form::Kept(stream) => {
                stream.seek(SeekFrom::Start(offset))?;
                io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, stream), out)?;
            }
            Form::Made(view) => {
                let mut rest = Rest { skip: offset, out };
                view.write_to(&mut rest)?;
                if rest.skip > 0 {
                    return Err(io::Error::other("more was asked for than there is"));
                }
            }
        }
        Ok(())
    }
}

impl Label {
    /// What it covers.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// A piece of it. One without data asks how much of this content the follower has.
    pub fn piece(&self, transfer: u64, offset: u64, data: Bytes, done: bool) -> message::Snapshot {
        message::Snapshot {
            transfer,
            base: self.base.clone(),
            content: self.content,
            offset,
            data,
            done,
            elsewhere: None,
        }
    }
}

/// Passes on what comes after the first so many bytes.
struct Rest<'a> {
    skip: u64,
    out: &'a mut dyn Write,
}

impl Write for Rest<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.skip == 0 {
            return self.out.write(data);
        }
        let count = self.skip.min(data.len() as u64);
        self.skip -= count;
        Ok(count as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
