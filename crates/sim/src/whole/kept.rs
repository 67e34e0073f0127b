//! A state machine of the user's, kept on the simulated disk as durable machines keep themselves: state and position
//! in one file that is replaced whole, not after every batch.

use std::io::{self, Read};
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use little_raft::{LibraryState, Position, Snapshot as _, StateMachine};
use little_raft_core::{Codec, DecodeError};
use little_raft_wal::Disk;

use super::disk::SimDisk;
use crate::random::hash;

const DIR: &str = "machine";
const CHECKSUM_BYTES: usize = 8;

pub(super) struct Kept {
    disk: SimDisk,
    /// What survives a crash.
    stored: (Position, LibraryState),
    /// So many commits are stored at once.
    every: u64,
    since: u64,
}

impl Kept {
    /// Brings `machine` to what the disk holds.
    pub(super) fn open<M: StateMachine>(
        disk: SimDisk,
        every: u64,
        machine: &mut M,
    ) -> io::Result<Self> {
        let mut kept = Self {
            disk,
            stored: Default::default(),
            every,
            since: 0,
        };
        let path = Path::new(DIR).join("state");
        let file = match kept.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            other => other?,
        };
        let mut bytes = vec![0; file.length()? as usize];
        file.read_at(&mut bytes, 0)?;
        let damaged = |_: DecodeError| io::Error::other(format!("{} is damaged", path.display()));
        let (position, library, state) = parse(bytes.into()).map_err(damaged)?;
        machine.restore(&mut state.reader() as &mut dyn Read)?;
        kept.stored = (position, LibraryState(library));
        Ok(kept)
    }

    pub(super) fn durable(&self) -> (Position, LibraryState) {
        self.stored.clone()
    }

    pub(super) fn commit<M: StateMachine>(
        &mut self,
        upto: Position,
        library: &LibraryState,
        machine: &M,
    ) -> io::Result<()> {
        self.since += 1;
        if self.since < self.every {
            return Ok(());
        }
        self.since = 0;
        let mut state = Vec::new();
        machine.snapshot()?.write_to(&mut state)?;
        let dir = Path::new(DIR);
        let file = self.disk.create(&dir.join("state.tmp"))?;
        file.write_at(&encode(upto, library, state), 0)?;
        file.sync_data()?;
        self.disk
            .rename(&dir.join("state.tmp"), &dir.join("state"))?;
        self.disk.sync_dir(dir)?;
        self.stored = (upto, library.clone());
        Ok(())
    }
}

fn encode(upto: Position, library: &LibraryState, state: Vec<u8>) -> BytesMut {
    let mut content = BytesMut::new();
    upto.encode(&mut content);
    library.0.encode(&mut content);
    Bytes::from(state).encode(&mut content);
    let mut bytes = BytesMut::with_capacity(CHECKSUM_BYTES + content.len());
    bytes.put_u64_le(hash(0, &content));
    bytes.put_slice(&content);
    bytes
}

fn parse(mut bytes: Bytes) -> Result<(Position, Bytes, Bytes), DecodeError> {
    let checksum = bytes.try_get_u64_le().unwrap_or_default();
    if hash(0, &bytes) != checksum {
        return Err(DecodeError::Short("the checksum"));
    }
    let bytes = &mut bytes;
    Ok((
        Position::decode(bytes)?,
        Bytes::decode(bytes)?,
        Bytes::decode(bytes)?,
    ))
}
