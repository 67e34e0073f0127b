//! The store in whole replicas, on a disk that lies: power goes in the middle of what it stores, flushes fail, room runs
//! out. What was answered stays, stores at one entry have one history, and at one revision they hold the same.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use little_raft::core::Position;
use little_raft::{Entry, LibraryState, StateMachine};
use little_raft_server::proto::command::RaiseRevision;
use little_raft_server::proto::command::command::Kind;
use little_raft_server::proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest};
use little_raft_server::store::{Answer, Refusal, Store, StoreView, encode};
use little_raft_sim::{Chance, Passed, SimDisk, simulate_durable};
use little_raft_wal::{Disk, DiskFile};

const PATH: &str = "machine/store";
/// The store's thread would write after two seconds; so many batches fall into that.
const COMMITS_PER_FLUSH: u64 = 30;

/// The store's file, as redb wants it.
struct File {
    disk: SimDisk,
    file: Arc<dyn DiskFile>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PATH)
    }
}

impl redb::StorageBackend for File {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.length()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        match self.file.read_at(out, offset)? == out.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    fn set_len(&self, bytes: u64) -> Result<(), io::Error> {
        self.disk.set_length(Path::new(PATH), bytes)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(data, offset)
    }
}

/// What stores hold at a revision, and at what they were compacted to: the first that gets there says it.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<BTreeMap<(i64, i64), u32>>>);

impl Known {
    fn compare(&self, store: &Store) {
        let reader = store.reader();
        let at = (reader.revision(), reader.compacted());
        let hash = reader.hash().expect("nothing rots");
        let mut known = self.0.lock().expect("nobody panics with it");
        let first = *known.entry(at).or_insert(hash);
        assert_eq!(
            first, hash,
            "two stores differ at revision and compaction {at:?}"
        );
    }
}

/// The store, written to its file now and then, as its thread would.
struct Simulated {
    store: Store,
    known: Known,
    commits: u64,
}

impl Simulated {
    fn open(disk: &SimDisk, known: Known) -> io::Result<Self> {
        let path = Path::new(PATH);
        let file = match disk.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(path)?;
                disk.sync_dir(Path::new("machine"))?;
                file
            }
            other => other?,
        };
        let disk = disk.clone();
        let store = Store::on(Path::new(PATH), File { disk, file }).map_err(io::Error::other)?;
        known.compare(&store);
        Ok(Self {
            store,
            known,
            commits: 0,
        })
    }
}

impl StateMachine for Simulated {
    type Response = Result<Answer, Refusal>;
    type Snapshot = StoreView;

    fn apply(&mut self, entry: Entry<'_>) -> Self::Response {
        self.store.apply(entry)
    }
    fn snapshot(&self) -> io::Result<StoreView> {
        self.store.snapshot()
    }
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        self.store.restore(snapshot)
    }
    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        self.store.commit(upto, library)?;
        self.commits += 1;
        if self.commits.is_multiple_of(COMMITS_PER_FLUSH) {
            self.store.flush().map_err(io::Error::other)?;
            self.known.compare(&self.store);
        }
        Ok(())
    }
    fn durable(&self) -> Option<(Position, LibraryState)> {
        self.store.durable()
    }
    fn digest(&self) -> Option<u64> {
        self.store.digest()
    }
}

fn command(chance: &mut Chance<'_>) -> Vec<u8> {
    let key = vec![b'a' + chance.below(20) as u8];
    let kind = match chance.below(20) {
        0 => Kind::Compact(CompactionRequest {
            revision: chance.below(500) as i64,
            physical: false,
        }),
        1 => Kind::RaiseRevision(RaiseRevision {
            by: chance.below(100),
        }),
        2..=4 => Kind::DeleteRange(DeleteRangeRequest {
            range_end: vec![key[0] + chance.below(3) as u8].into(),
            key: key.into(),
            prev_kv: true,
        }),
        _ => Kind::Put(PutRequest {
            value: Bytes::from(vec![chance.below(256) as u8; chance.below(200) as usize]),
            key: key.into(),
            prev_kv: true,
            ..PutRequest::default()
        }),
    };
    encode(kind).to_vec()
}

fn run(seed: u64) -> Passed {
    let known = Known::default();
    let open = |disk: &SimDisk| Simulated::open(disk, known.clone());
    simulate_durable(open, command, seed..=seed).unwrap_or_else(|failed| panic!("{failed}"))
}

/// `LITTLE_RAFT_SEEDS` says how many, `LITTLE_RAFT_SEED` which is the first.
#[test]
fn stores_on_disks_that_lie_lose_nothing_and_agree() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("LITTLE_RAFT_SEED").unwrap_or(1);
    let mut all = Passed::default();
    for seed in first..first + number("LITTLE_RAFT_SEEDS").unwrap_or(5) {
        all.add(&run(seed));
    }
    println!("{all:?}");
    assert!(all.applied > 100 * all.seeds, "{all:?}");
}

#[test]
fn a_seed_gives_one_run() {
    assert_eq!(run(3), run(3));
}
