//! Appends entries of 256 bytes one by one, each durable before the next, and prints the median time of an append beside
//! that of a bare write and flush of as many bytes into a file prepared in the same way.
//!
//! `cargo run --release -p little-raft-wal --example append -- DIR [COUNT]`

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use little_raft_core::{Entry, EntryKind, HardState, Member, Position, ReplicaId, Write};
use little_raft_wal::{Founding, Options, RealDisk, Wal, fresh_incarnation};

const PAYLOAD_BYTES: usize = 256;
const BATCH_BYTES: usize = 376;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("give a directory")?);
    let count: u64 = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    let (mut log, mut bare) = (Log::open(&dir)?, Bare::open(&dir.join("bare"), count)?);
    let (mut appends, mut writes) = (Vec::new(), Vec::new());
    for index in 1..=count {
        appends.push(timed(|| log.append(index))?);
        writes.push(timed(|| bare.append(index))?);
    }
    let (append, write) = (median(appends), median(writes));
    println!("append {append:?}, bare write and flush {write:?}");
    Ok(())
}

struct Log(Wal);

impl Log {
    fn open(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let founding = Founding {
            cluster: 1,
            replica: ReplicaId(1),
            founders: vec![Member::voter(1, "localhost:1")],
            incarnation: fresh_incarnation(),
        };
        let (mut wal, recovered) =
            Wal::open(Arc::new(RealDisk), dir, Options::default(), &founding)?;
        if recovered.identity.boot > 1 {
            return Err("give a new directory".into());
        }
        wal.maintenance()?;
        Ok(Self(wal))
    }

    fn append(&mut self, index: u64) -> Result<(), Box<dyn Error>> {
        let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
        let entry = Entry {
            position: Position::new(index, 1),
            kind: EntryKind::Command,
            time: 0,
            checksum: crc32c::crc32c(&payload),
            payload,
        };
        let write = Write {
            number: index,
            hard_state: HardState {
                term: 1,
                vote: None,
                committed: index - 1,
            },
            base: None,
            entries: [entry].into(),
        };
        self.0.append(&[(1, &write)])?;
        Ok(())
    }
}

struct Bare(std::fs::File);

impl Bare {
    fn open(path: &Path, count: u64) -> Result<Self, Box<dyn Error>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(path)?;
        file.write_all_at(&vec![0; BATCH_BYTES * count as usize], 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    fn append(&mut self, index: u64) -> Result<(), Box<dyn Error>> {
        let offset = (index - 1) * BATCH_BYTES as u64;
        self.0.write_all_at(&[7; BATCH_BYTES], offset)?;
        self.0.sync_data()?;
        Ok(())
    }
}

fn timed(act: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    act()?;
    Ok(begin.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
