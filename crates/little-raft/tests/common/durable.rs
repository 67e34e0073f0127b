//! A state machine with durable storage of its own.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use little_raft::{Entry, LibraryState, Position, ResponseCodec, StateMachine};

/// What survives: a count, and up to where.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<(u64, Position, LibraryState)>>);

impl Disk {
    pub fn at(&self) -> (u64, Position, LibraryState) {
        self.0.lock().expect("no panic").clone()
    }
}

/// Counts commands.
pub struct Counter {
    pub disk: Disk,
    pub count: u64,
    pub applied_here: u64,
    /// So many bytes of its snapshots say nothing.
    pub padding: usize,
}

impl Counter {
    pub fn open(disk: &Disk) -> Self {
        Self {
            count: disk.at().0,
            disk: disk.clone(),
            applied_here: 0,
            padding: 0,
        }
    }
}

impl StateMachine for Counter {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _: Entry<'_>) -> u64 {
        self.count += 1;
        self.applied_here += 1;
        self.count
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok([self.count.to_le_bytes().to_vec(), vec![0; self.padding]].concat())
    }
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }
    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        *self.disk.0.lock().expect("no panic") = (self.count, upto, library.clone());
        Ok(())
    }
    fn durable(&self) -> Option<(Position, LibraryState)> {
        let (_, position, library) = self.disk.at();
        Some((position, library))
    }
    fn response_codec() -> Option<ResponseCodec<u64>> {
        Some(ResponseCodec::new())
    }
}
