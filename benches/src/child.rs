//! One replica in a process of its own, which does what its parent's lines say and answers each with a line.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use little_raft::{Bytes, Entry, Replica, State, StateMachine, WalStorage};
use little_raft_wal::{Disk, DiskFile, DiskLock, RealDisk};
use serde_json::{Value, json};

use crate::figures::median;

/// The first word on a child's command line.
pub(crate) const ASKED: &str = "be-replica";
const COMMAND_BYTES: usize = 64;
/// A client that looks whether there is a leader again tries so often.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// How a load went.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Acknowledged writes a second.
    pub rate: f64,
    /// The median time of one, in microseconds.
    pub median_us: f64,
    /// The 99th percentile, in microseconds.
    pub p99_us: f64,
    /// Flushes of this process's log for each acknowledged write.
    pub flushes: f64,
}

/// If this process was started as a group's replica, is that until its parent closes its input, and never returns.
pub fn be_replica_if_asked() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [asked, id, members, dir] = &words[..]
        && asked == ASKED
    {
        serve(id.parse().expect("a replica's id"), members, Path::new(dir));
        std::process::exit(0);
    }
}

fn serve(id: u64, members: &str, dir: &Path) {
    let flushes = Arc::new(AtomicU64::new(0));
    let disk = Arc::new(CountingDisk(flushes.clone()));
    let replica = Replica::<Counter>::builder(id)
        .members((1..).zip(members.split(',')))
        .storage(WalStorage::on(
            disk,
            dir,
            little_raft_wal::Options::default(),
        ))
        .start(Counter(0))
        .expect("the replica starts");
    let background = Arc::new(AtomicBool::new(false));
    for line in io::stdin().lock().lines() {
        let line = line.expect("the parent writes text");
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["status"] => status(&replica),
            ["write", clients, millis] => {
                write(&replica, &flushes, number(clients), number(millis))
            }
            ["begin", clients] => begin(&replica, &background, number(clients)),
            ["end"] => end(&background),
            ["probe"] => probe(&replica),
            _ => panic!("not a word of the parent's: {line}"),
        };
        let mut out = io::stdout().lock();
        let told = writeln!(out, "{answer}").and_then(|()| out.flush());
        told.expect("the parent listens");
    }
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn status(replica: &Replica<Counter>) -> Value {
    let status = replica.status();
    json!({
        "leads": status.state == State::Leader,
        "leader": status.leader.map_or(0, |leader| leader.0),
        "term": status.term,
        "committed": status.committed,
        "applied": status.applied,
    })
}

/// So many clients, each waiting for its write before the next.
fn write(replica: &Replica<Counter>, flushes: &AtomicU64, clients: u64, millis: u64) -> Value {
    let before = flushes.load(Relaxed);
    let begun = Instant::now();
    let until = begun + Duration::from_millis(millis);
    let mut micros: Vec<f64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| write_until(replica, until)))
            .collect();
        let clients = clients.into_iter();
        clients
            .flat_map(|client| client.join().expect("no panic"))
            .collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let flushed = flushes.load(Relaxed) - before;
    micros.sort_by(f64::total_cmp);
    json!({
        "rate": micros.len() as f64 / seconds,
        "median_us": median(micros.clone()),
        "p99_us": micros[micros.len() * 99 / 100],
        "flushes": flushed as f64 / micros.len() as f64,
    })
}

fn write_until(replica: &Replica<Counter>, until: Instant) -> Vec<f64> {
    let mut micros = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= until {
            return micros;
        }
        let written = replica
            .propose(Bytes::from_static(&[7; COMMAND_BYTES]))
            .wait();
        written.expect("nothing disturbs this load");
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
}

/// Load that goes on until `end`, or this process's.
fn begin(replica: &Replica<Counter>, background: &Arc<AtomicBool>, clients: u64) -> Value {
    background.store(true, Relaxed);
    for _ in 0..clients {
        let (replica, background) = (replica.clone(), background.clone());
        thread::spawn(move || {
            while background.load(Relaxed) {
                // Whether it succeeds is not the question here.
                let _ = replica
                    .propose(Bytes::from_static(&[7; COMMAND_BYTES]))
                    .wait();
            }
        });
    }
    json!({})
}

fn end(background: &AtomicBool) -> Value {
    background.store(false, Relaxed);
    json!({})
}

/// Proposes again and again, without waiting for the one before, until one is acknowledged.
fn probe(replica: &Replica<Counter>) -> Value {
    let begun = Instant::now();
    let mut under_way = Vec::new();
    let mut next = begun;
    loop {
        if Instant::now() >= next {
            under_way.push(replica.propose(Bytes::from_static(&[1; COMMAND_BYTES])));
            next += PROBE_EVERY;
        }
        while let Some(ended) = under_way.iter().position(|pending| pending.is_ready()) {
            if under_way.swap_remove(ended).wait().is_ok() {
                return json!({ "millis": begun.elapsed().as_secs_f64() * 1e3 });
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
}

struct Counter(u64);

impl StateMachine for Counter {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, _: Entry<'_>) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        snapshot.read_exact(&mut bytes)?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// The machine's disk, with its flushes of files counted.
struct CountingDisk(Arc<AtomicU64>);

struct CountingFile {
    file: Arc<dyn DiskFile>,
    flushes: Arc<AtomicU64>,
}

impl CountingDisk {
    fn counting(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let flushes = self.0.clone();
        Arc::new(CountingFile { file, flushes })
    }
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path).map(|file| self.counting(file))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path).map(|file| self.counting(file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for CountingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Relaxed);
        self.file.sync_data()
    }
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
