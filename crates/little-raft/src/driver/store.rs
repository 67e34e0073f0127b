//! What is read for slow followers and stored for ourselves when we are one.

use std::io::Write;
use std::sync::Arc;

use little_raft_core::message::{self, Content};
use little_raft_core::{Base, Fetch, Input, PieceOutcome, ReceivedPiece, ReplicaId};

use super::pieces::is_whole;
use crate::error::StorageError;
use crate::storage::{Arriving, LogReader, SnapshotFiles};

/// Something to do with files that nobody's heartbeat may wait for.
#[derive(Debug)]
pub enum StoreWork {
    /// Read entries.
    Fetch(Fetch),
    /// Store a piece of a snapshot.
    Piece(ReceivedPiece),
}

/// Does it.
pub struct Store {
    reader: Arc<dyn LogReader>,
    snapshots: Arc<dyn SnapshotFiles>,
    /// One at a time: who sends another replaces what was begun.
    receiving: Option<Receiving>,
}

struct Receiving {
    from: ReplicaId,
    base: Base,
    content: Content,
    arriving: Arriving,
}

impl Store {
    /// On these files.
    pub fn new(reader: Arc<dyn LogReader>, snapshots: Arc<dyn SnapshotFiles>) -> Self {
        Self {
            reader,
            snapshots,
            receiving: None,
        }
    }

    /// Does one piece of work; the core is told what came of it.
    pub fn run(&mut self, work: StoreWork) -> Input {
        match work {
            StoreWork::Fetch(fetch) => self.fetch(&fetch),
            StoreWork::Piece(received) => self.receive(received),
        }
    }

    fn fetch(&self, fetch: &Fetch) -> Input {
        let read = self
            .reader
            .entries(fetch.first, fetch.last, fetch.bytes_max);
        Input::Fetched {
            to: fetch.to,
            entries: read.unwrap_or_else(|error| {
                tracing::warn!(to = %fetch.to, first = fetch.first, last = fetch.last, %error, "entries could not be read");
                Vec::new()
            }),
        }
    }

    fn receive(&mut self, received: ReceivedPiece) -> Input {
        let (from, transfer) = (received.from, received.piece.transfer);
        let outcome = self.store(from, &received.piece).unwrap_or_else(|error| {
            tracing::warn!(%from, %error, "a snapshot could not be received");
            if let Some(receiving) = self.receiving.take() {
                receiving.arriving.sink.discard();
            }
            PieceOutcome::Failed
        });
        Input::PieceStored {
            from,
            transfer,
            outcome,
        }
    }

    fn store(
        &mut self,
        from: ReplicaId,
        piece: &message::Snapshot,
    ) -> Result<PieceOutcome, StorageError> {
        let is_of = |receiving: &Receiving| receiving.is_of(from, piece);
        if !self.receiving.as_ref().is_some_and(is_of) {
            if piece.offset > 0 {
                return Ok(PieceOutcome::Failed);
            }
            self.receiving = None;
            self.receiving = Some(Receiving::begin(&*self.snapshots, from, piece)?);
        }
        let receiving = self.receiving.as_mut().expect("begun above");
        if piece.offset == receiving.arriving.length {
            receiving.append(piece)?;
            if piece.done {
                return self.finish(piece.base.clone());
            }
        }
        Ok(PieceOutcome::Stored(receiving.arriving.length))
    }

    fn finish(&mut self, base: Base) -> Result<PieceOutcome, StorageError> {
        // Rule 10: whole, and as the sender wrote it, before anybody can see it.
        let is_whole = |receiving: &mut Receiving| is_whole(receiving.arriving.checksum);
        match self.receiving.take_if(is_whole) {
            Some(receiving) => receiving.arriving.sink.finish()?,
            None => return Err(StorageError::fatal("its checksum differs from its content")),
        }
        Ok(PieceOutcome::Complete(base))
    }
}

impl Receiving {
    /// Goes on with what has arrived of the same, whenever that was.
    fn begin(
        files: &dyn SnapshotFiles,
        from: ReplicaId,
        piece: &message::Snapshot,
    ) -> Result<Self, StorageError> {
        let content = match piece.content {
            Content::Made(transfer) => format!("{:x}-{transfer:x}", from.0),
            Content::Kept { length, checksum } => format!("{length:x}-{checksum:x}-kept"),
        };
        let mut arriving = files.receive(&piece.base, &content)?;
        if arriving.length > length_max(piece) {
            arriving.sink.discard();
            arriving = files.receive(&piece.base, &content)?;
        }
        Ok(Self {
            from,
            base: piece.base.clone(),
            content: piece.content,
            arriving,
        })
    }

    /// Whether the piece is of the same content: what two replicas made of one state may differ.
    fn is_of(&self, from: ReplicaId, piece: &message::Snapshot) -> bool {
        let may_come = match self.content {
            Content::Made(_) => self.from == from,
            Content::Kept { .. } => true,
        };
        may_come && self.content == piece.content && self.base == piece.base
    }

    fn append(&mut self, piece: &message::Snapshot) -> Result<(), StorageError> {
        if piece.end() > length_max(piece) {
            return Err(StorageError::fatal("more arrived than was announced"));
        }
        let arriving = &mut self.arriving;
        arriving.sink.write_all(&piece.data).map_err(|error| {
            StorageError::fatal(format!("a piece could not be stored: {error}"))
        })?;
        arriving.checksum = crc32c::crc32c_append(arriving.checksum, &piece.data);
        arriving.length = piece.end();
        Ok(())
    }
}

fn length_max(piece: &message::Snapshot) -> u64 {
    match piece.content {
        Content::Made(_) => u64::MAX,
        Content::Kept { length, .. } => length,
    }
}

#[cfg(test)]
mod tests;
