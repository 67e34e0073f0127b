//! Group commit: all writes that have queued up become durable with one append.

use little_raft_core::{Input, Write};

use crate::error::StorageError;
use crate::storage::Storage;

/// Owns the storage's appending end.
pub struct LogWriter {
    storage: Box<dyn Storage>,
    /// What is being written, or could not be for lack of room; in order.
    unwritten: Vec<Write>,
    low: bool,
}

/// What to tell the engine after an append.
#[derive(Debug, Default)]
pub struct LogOutcome {
    /// The last write that is durable now.
    pub flushed: Option<u64>,
    /// Whether there is room, if that has changed.
    pub accepting: Option<bool>,
    /// Run again after a while, also with nothing new: there was no room.
    pub retry: bool,
}

impl LogOutcome {
    /// The inputs for the core.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        let flushed = self.flushed.map(|write| Input::Flushed { write });
        let accepting = self.accepting.map(Input::Accepting);
        flushed.into_iter().chain(accepting)
    }
}

impl LogWriter {
    /// The writer of an opened storage.
    pub fn new(storage: Box<dyn Storage>) -> Self {
        Self {
            storage,
            unwritten: Vec::new(),
            low: false,
        }
    }

    /// Makes `writes` durable, after what is still unwritten. Reports exactly what was in this append.
    ///
    /// # Errors
    /// Any but a lack of room is the end of the replica (rule 2): the writer must not be used again.
    pub fn run(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<LogOutcome, StorageError> {
        self.unwritten.extend(writes);
        match self.storage.append(&self.unwritten) {
            Ok(space) => {
                let last = self.unwritten.last().map(|write| write.number);
                self.unwritten.clear();
                Ok(self.report(last, space.low))
            }
            Err(StorageError::NoSpace(_)) => Ok(self.report(None, true)),
            Err(fatal) => Err(fatal),
        }
    }

    /// Nothing was written for a while.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn idle(&mut self) -> Result<(), StorageError> {
        self.storage.idle()
    }

    /// The storage, once nothing more is to be written.
    pub fn into_storage(self) -> Box<dyn Storage> {
        self.storage
    }

    fn report(&mut self, flushed: Option<u64>, low: bool) -> LogOutcome {
        let changed = low != self.low;
        self.low = low;
        LogOutcome {
            flushed,
            accepting: changed.then_some(!low),
            retry: low,
        }
    }
}
