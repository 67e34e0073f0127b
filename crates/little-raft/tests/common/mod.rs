//! What the library's tests share: a state machine that remembers everything, and a group of it in memory.
#![allow(dead_code, missing_docs)]

pub mod durable;
pub mod proxy;
pub mod straggler;

use std::io::{self, Read, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::str::{self, FromStr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use little_raft::{
    Builder, Bytes, Entry, Founding, LogReader, MemoryCluster, MemoryStorage, Opened, Replica,
    ResponseCodec, SnapshotFiles, Space, State, StateMachine, Storage, StorageError, Timing, Write,
};

/// Long enough for anything that should happen at all.
pub const BOUND: Duration = Duration::from_secs(20);

/// Quick elections, so that tests are.
pub fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(20),
        election: Duration::from_millis(150),
    }
}

/// Keeps every command; answers how many there are. A command `slow` takes as long as it is told to, `panic` panics
/// until the machine is mended.
#[derive(Default)]
pub struct Journal {
    pub commands: Vec<String>,
    pub slow: Duration,
    pub stuck: Arc<AtomicBool>,
    /// Whether it hangs in a command `stuck`.
    pub is_stuck: Arc<AtomicBool>,
    pub restored: u64,
    pub mended: bool,
}

impl StateMachine for Journal {
    type Response = usize;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) -> usize {
        let command = String::from_utf8_lossy(entry.command).into_owned();
        match command.as_str() {
            "slow" => thread::sleep(self.slow),
            "panic" if !self.mended => panic!("told to"),
            "stuck" => {
                self.is_stuck.store(true, Ordering::SeqCst);
                while self.stuck.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            _ => {}
        }
        self.commands.push(command);
        self.commands.len()
    }

    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Ok(self.commands.join("\n").into_bytes())
    }

    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut text = String::new();
        snapshot.read_to_string(&mut text)?;
        self.commands = text.lines().map(str::to_owned).collect();
        self.restored += 1;
        Ok(())
    }

    fn response_codec() -> Option<ResponseCodec<usize>> {
        let decode = |bytes: Bytes| usize::from_str(str::from_utf8(&bytes).ok()?).ok();
        Some(ResponseCodec::with(
            |count| count.to_string().into(),
            decode,
        ))
    }
}

/// Memory that is used like a disk: by the log's own thread.
pub struct Threaded(pub MemoryStorage);

impl Storage for Threaded {
    fn open(&mut self, founding: &Founding) -> Result<Opened, StorageError> {
        Storage::open(&mut self.0, founding)
    }
    fn append(&mut self, writes: &[Write]) -> Result<Space, StorageError> {
        self.0.append(writes)
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.0.reader()
    }
    fn snapshots(&self) -> Arc<dyn SnapshotFiles> {
        self.0.snapshots()
    }
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < BOUND, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// While it lives, the test may run; a test that hangs (in a `stop` that never returns, say) says so and ends.
pub struct Bound(Option<Sender<()>>);

impl Bound {
    pub fn new() -> Self {
        const LIMIT: Duration = Duration::from_secs(120);
        let (alive, ended) = channel::<()>();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // Past the harness, which would keep it to itself.
                let _ = writeln!(
                    io::stderr(),
                    "it hangs: {test} has not ended after {LIMIT:?}"
                );
                std::process::exit(101);
            }
        });
        Self(Some(alive))
    }
}

/// A group in memory, whose members can be stopped and started again.
pub struct Group {
    pub hub: MemoryCluster,
    pub storages: Vec<MemoryStorage>,
    pub replicas: Vec<Option<Replica<Journal>>>,
    /// The last to be dropped.
    _bound: Bound,
}

impl Group {
    pub fn new(count: u64) -> Self {
        Self::with(count, |builder| builder)
    }

    pub fn with(count: u64, adjust: impl Fn(Builder<Journal>) -> Builder<Journal>) -> Self {
        let mut group = Self {
            hub: MemoryCluster::new(),
            storages: (0..count).map(|_| MemoryStorage::new()).collect(),
            replicas: (0..count).map(|_| None).collect(),
            _bound: Bound::new(),
        };
        for id in 1..=count {
            group.start_with(id, Journal::default(), &adjust);
        }
        group
    }

    pub fn builder(&self, id: u64) -> Builder<Journal> {
        Replica::<Journal>::builder(id)
            .members((1..=self.storages.len() as u64).map(|id| (id, "")))
            .timing(timing())
            .storage(self.storages[id as usize - 1].clone())
            .cluster(self.hub.link(id))
    }

    pub fn start_with(
        &mut self,
        id: u64,
        machine: Journal,
        adjust: impl Fn(Builder<Journal>) -> Builder<Journal>,
    ) {
        let replica = adjust(self.builder(id)).start(machine).expect("it starts");
        self.replicas[id as usize - 1] = Some(replica);
    }

    pub fn start(&mut self, id: u64) {
        self.start_with(id, Journal::default(), |builder| builder);
    }

    pub fn kill(&mut self, id: u64) {
        self.replicas[id as usize - 1] = None;
    }

    pub fn at(&self, id: u64) -> &Replica<Journal> {
        self.replicas[id as usize - 1].as_ref().expect("it runs")
    }

    pub fn running(&self) -> impl Iterator<Item = &Replica<Journal>> {
        self.replicas.iter().flatten()
    }

    /// The leader that a majority follows.
    pub fn leader(&self) -> u64 {
        until("a leader", || {
            let leader = self
                .running()
                .map(Replica::status)
                .filter(|status| status.state == State::Leader)
                .max_by_key(|status| status.term)?;
            let followers = self
                .running()
                .map(Replica::status)
                .filter(|status| status.leader == Some(leader.id) && status.term == leader.term)
                .count();
            (followers > self.replicas.len() / 2).then_some(leader.id.0)
        })
    }

    pub fn follower(&self) -> u64 {
        let leader = self.leader();
        self.running()
            .map(|replica| replica.id().0)
            .find(|id| *id != leader)
            .expect("more than one runs")
    }
}

/// The outcome, in time.
pub fn outcome<T, E>(pending: little_raft::Pending<T, E>) -> Result<T, E> {
    match pending.wait_timeout(BOUND) {
        Ok(outcome) => outcome,
        Err(_) => panic!("a pending did not end in time"),
    }
}

/// A directory of this test's own, gone when it is over.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("little-raft-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports that were free a moment ago. Below those that the system gives to outgoing connections: one of these could
/// take it while its replica is down.
pub fn members(count: u64) -> Vec<(u64, String)> {
    static SEARCHES: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(37);
    let addresses = (0..4_000).map(|_| {
        let search = SEARCHES.fetch_add(1, Ordering::Relaxed);
        format!("127.0.0.1:{}", 5_000 + begin.wrapping_add(search) % 4_000)
    });
    let free = addresses.filter(|address| TcpListener::bind(address).is_ok());
    let members: Vec<(u64, String)> = (1..=count).zip(free).collect();
    assert_eq!(members.len() as u64, count, "loopback has free ports");
    members
}
