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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use little_raft_core::HardState;

    use super::*;
    use crate::storage::{Founding, LogReader, Opened, SnapshotFiles, Space};

    /// A disk with room or without.
    #[derive(Clone, Default)]
    struct Narrow {
        full: Arc<AtomicBool>,
        written: Arc<Mutex<Vec<u64>>>,
    }

    impl Storage for Narrow {
        fn open(&mut self, _: &Founding) -> Result<Opened, StorageError> {
            Err(StorageError::fatal("never opened"))
        }
        fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError> {
            if self.full.load(Ordering::SeqCst) {
                return Err(StorageError::no_space("not a byte"));
            }
            let mut written = self.written.lock().expect("no panic");
            written.extend(writes.iter().map(|write| write.number));
            Ok(Space { low: false })
        }
        fn reader(&self) -> Arc<dyn LogReader> {
            unreachable!("only written to")
        }
        fn snapshots(&self) -> Arc<dyn SnapshotFiles> {
            unreachable!("only written to")
        }
    }

    fn write(number: u64) -> Write {
        Write {
            number,
            hard_state: HardState::default(),
            base: None,
            entries: [].into(),
        }
    }

    /// Nothing of it was written, so that it may be tried again (rule 2 is about what failed half-way).
    #[test]
    fn what_finds_no_room_is_written_later_and_in_order() {
        let disk = Narrow::default();
        let mut log = LogWriter::new(Box::new(disk.clone()));
        disk.full.store(true, Ordering::SeqCst);
        for number in [1, 2] {
            let outcome = log
                .run(vec![write(number)])
                .expect("a full disk is no failure");
            assert!(outcome.retry);
            let flushed = |input: &Input| matches!(input, Input::Flushed { .. });
            assert!(!outcome.inputs().any(|input| flushed(&input)));
        }
        disk.full.store(false, Ordering::SeqCst);
        let outcome = log.run(vec![write(3)]).expect("there is room");
        assert!(!outcome.retry);
        let inputs: Vec<Input> = outcome.inputs().collect();
        assert_eq!(
            inputs,
            [Input::Flushed { write: 3 }, Input::Accepting(true)]
        );
        assert_eq!(*disk.written.lock().expect("no panic"), [1, 2, 3]);
    }
}
