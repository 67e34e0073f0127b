//! What is read for slow followers and stored for ourselves when we are one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use little_raft_core::{Fetch, Input, PieceOutcome, ReceivedPiece, ReplicaId, message};

use super::pieces::Tail;
use crate::error::StorageError;
use crate::storage::{LogReader, SnapshotFiles, SnapshotSink};

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
    receiving: BTreeMap<ReplicaId, Receiving>,
}

struct Receiving {
    transfer: u64,
    stored: u64,
    tail: Tail,
    sink: Box<dyn SnapshotSink>,
}

impl Store {
    /// On these files.
    pub fn new(reader: Arc<dyn LogReader>, snapshots: Arc<dyn SnapshotFiles>) -> Self {
        Self {
            reader,
            snapshots,
            receiving: BTreeMap::new(),
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
            self.receiving.remove(&from);
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
        let known = self.receiving.get(&from).map(|r| (r.transfer, r.stored));
        let stored = match known {
            Some((transfer, stored)) if transfer == piece.transfer => stored,
            _ if piece.offset == 0 => {
                self.begin(from, piece)?;
                0
            }
            _ => return Ok(PieceOutcome::Failed),
        };
        if piece.offset != stored {
            return Ok(PieceOutcome::Stored(stored));
        }
        let receiving = self.receiving.get_mut(&from).expect("begun above");
        receiving.sink.write_all(&piece.data).map_err(|error| {
            StorageError::fatal(format!("a piece could not be stored: {error}"))
        })?;
        receiving.tail.update(&piece.data);
        receiving.stored += piece.data.len() as u64;
        if !piece.done {
            return Ok(PieceOutcome::Stored(receiving.stored));
        }
        let receiving = self.receiving.remove(&from).expect("used above");
        // Rule 10: whole, and as the sender wrote it, before anybody can see it.
        if !receiving.tail.is_valid() {
            return Err(StorageError::fatal("its checksum differs from its content"));
        }
        receiving.sink.finish()?;
        Ok(PieceOutcome::Complete(piece.base.clone()))
    }

    fn begin(&mut self, from: ReplicaId, piece: &message::Snapshot) -> Result<(), StorageError> {
        // One at a time: who sends a newer one, or another sender, replaces what was begun.
        self.receiving.clear();
        let receiving = Receiving {
            transfer: piece.transfer,
            stored: 0,
            tail: Tail::default(),
            sink: self.snapshots.create(&piece.base)?,
        };
        self.receiving.insert(from, receiving);
        Ok(())
    }
}
