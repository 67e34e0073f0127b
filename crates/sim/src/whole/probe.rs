//! A user's state machine, with somebody who writes down what it does.

use std::fmt::Debug;
use std::io::{self, Read};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use little_raft::{Entry, LibraryState, Position, ResponseCodec, StateMachine};

use super::disk::SimDisk;
use super::kept::Kept;
use super::ledger::SharedLedger;

/// How a command begins: with a number of its own, which the machine does not see.
const TAG_BYTES: usize = 8;

pub(super) struct Probe<M> {
    machine: M,
    id: u64,
    ledger: SharedLedger,
    /// The entry applied last, and how many commands of it were.
    index: u64,
    count: u32,
    is_restored: bool,
    /// How it is kept, if it is not in memory alone.
    kept: Option<Kept>,
}

impl<M: StateMachine> Probe<M> {
    pub(super) fn new(machine: M, id: u64, ledger: SharedLedger) -> Self {
        Self {
            machine,
            id,
            ledger,
            index: 0,
            count: 0,
            is_restored: false,
            kept: None,
        }
    }

    /// Kept on this disk: stored once in so many commits.
    pub(super) fn kept(mut self, disk: SimDisk, every: u64) -> io::Result<Self> {
        let kept = Kept::open(disk, every, &mut self.machine)?;
        self.is_restored = true;
        self.kept = Some(kept);
        Ok(self)
    }
}

/// The command with its number.
pub(super) fn tagged(tag: u64, command: &[u8]) -> Bytes {
    [&tag.to_le_bytes(), command].concat().into()
}

impl<M: StateMachine<Response: Debug>> StateMachine for Probe<M> {
    type Response = M::Response;
    type Snapshot = M::Snapshot;

    fn apply(&mut self, entry: Entry<'_>) -> M::Response {
        let index = entry.position.index;
        self.count = if self.index == index {
            self.count + 1
        } else {
            0
        };
        self.index = index;
        let place = (index, self.count);
        if std::mem::take(&mut self.is_restored) {
            let digest = self.machine.digest();
            self.ledger.open().compare(self.id, place, digest);
        }
        let (tag, command) = entry.command.split_at(TAG_BYTES);
        let tag = u64::from_le_bytes(tag.try_into().expect("split there"));
        let command = entry.command.slice_ref(command);
        let time = entry.time().duration_since(UNIX_EPOCH);
        let time = time.map_or(0, |since| since.as_nanos() as u64);
        let command = Entry::new(entry.position, time, &command);
        let response = self.machine.apply(command);
        let (said, digest) = (format!("{response:?}"), self.machine.digest());
        let mut ledger = self.ledger.open();
        ledger.record(self.id, place, tag, said, digest);
        response
    }

    fn snapshot(&self) -> io::Result<M::Snapshot> {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        self.is_restored = true;
        self.machine.restore(snapshot)
    }

    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        match &mut self.kept {
            Some(kept) => kept.commit(upto, library, &self.machine),
            None => self.machine.commit(upto, library),
        }
    }

    fn durable(&self) -> Option<(Position, LibraryState)> {
        let kept = self.kept.as_ref().map(Kept::durable);
        kept.or_else(|| self.machine.durable())
    }

    fn response_codec() -> Option<ResponseCodec<M::Response>> {
        M::response_codec()
    }

    fn digest(&self) -> Option<u64> {
        self.machine.digest()
    }
}
