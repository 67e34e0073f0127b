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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use little_raft_core::{Base, Position};

    use super::super::pieces::Whole;
    use super::*;
    use crate::machine::Snapshot;
    use crate::memory::MemoryStorage;
    use crate::storage::Storage;

    fn send(store: &mut Store, transfer: u64, data: &[u8]) -> PieceOutcome {
        let (first, second) = data.split_at(data.len() / 2);
        let mut outcome = PieceOutcome::Failed;
        for (offset, part, done) in [(0, first, false), (first.len() as u64, second, true)] {
            let piece = message::Snapshot {
                transfer,
                base: Base {
                    position: Position::new(5, 1),
                    ..Base::default()
                },
                offset,
                data: Bytes::copy_from_slice(part),
                done,
            };
            let from = ReplicaId(2);
            let input = store.run(StoreWork::Piece(ReceivedPiece { from, piece }));
            let Input::PieceStored { outcome: next, .. } = input else {
                panic!("a piece was stored, not {input:?}");
            };
            outcome = next;
        }
        outcome
    }

    #[test]
    fn a_received_snapshot_is_whole_or_not_there() {
        let storage = MemoryStorage::new();
        let mut store = Store::new(storage.reader(), storage.snapshots());
        let (mut whole, view) = (Vec::new(), b"a state".to_vec());
        let sessions = Bytes::new();
        let written = Whole { sessions, view }.write_to(&mut whole);
        written.expect("memory takes it");
        let at = Position::new(5, 1);
        for (transfer, place) in (1..).zip(0..whole.len()) {
            let mut bad = whole.clone();
            bad[place] ^= 1;
            let outcome = send(&mut store, transfer, &bad);
            assert_eq!(outcome, PieceOutcome::Failed, "byte {place}");
            assert!(storage.snapshots().open(at).is_err(), "byte {place}");
        }
        let outcome = send(&mut store, 100, &whole);
        assert!(matches!(outcome, PieceOutcome::Complete(base) if base.position == at));
        storage.snapshots().open(at).expect("it is there");
    }
}
