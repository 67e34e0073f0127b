//! The multi-version store: every write is a new revision, and old ones stay readable until they are compacted.
//!
//! The log is the store's journal. Applying changes memory only: the index and the newest records. A thread of the
//! store's own writes those to the file later, many at once, together with how far the log they come from was applied
//! ([`Point`]). After a crash the file is a little behind, and the log from there on is applied again.
//!
//! Reads don't go through the applier. They take what they need from the index under a short lock, together with a
//! view of the file, and read values without it.

mod attributes;
mod check;
mod disk;
mod error;
mod execute;
mod index;
mod look;
mod maintenance;
mod range;
mod record;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use little_raft::core::Position;
use little_raft::{Entry, LibraryState, StateMachine};
use prost::Message;

pub use attributes::Attributes;
pub use check::{
    delete_range as check_delete_range, put as check_put, put_cost, range as check_range,
    reads_only, serializable, txn as check_txn, txn_cost,
};
pub use disk::Point;
pub use error::{Refusal, StoreError};
pub use execute::Answer;
pub use range::Page;
pub use snapshot::{StoreView, Summary, summary};

use crate::proto::command::Command;
use crate::proto::command::command::Kind;
use crate::proto::etcdserverpb::{RangeRequest, TxnRequest, TxnResponse};
use disk::{Disk, DiskWrite};
use execute::Failure;
use look::{LazyView, Look};
use maintenance::{Maintenance, Rounds};
use range::{Horizon, Selection};
use record::Revision;
use state::State;

/// A command as it goes into the log.
pub fn encode(kind: Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

/// The store as the library's applier owns it.
pub struct Store {
    reader: Reader,
    maintenance: Maintenance,
    /// A snapshot that was read in and takes effect with the next commit.
    restored: Option<(DiskWrite, State)>,
}

/// The store as requests read it; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<State>,
    disk: Disk,
    cleaned: Rounds,
}

impl Shared {
    // A panic while the lock is held stops the replica; what remains of it may still read.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens the store in `path`, or makes an empty one.
    ///
    /// # Errors
    /// If it is in use, damaged, of a newer format, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut store = Self::without_thread(Disk::open(path)?)?;
        store.maintenance = Maintenance::start(&store.reader.shared);
        Ok(store)
    }

    /// A store in memory whose file part changes only by [`flush`](Self::flush), for tests and simulations.
    ///
    /// # Errors
    /// None that a test could cause.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::on(
            Path::new("(in memory)"),
            redb::backends::InMemoryBackend::new(),
        )
    }

    /// A store on a disk of your own, whose file part changes only by [`flush`](Self::flush), for simulations. Errors call
    /// it `path`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn on(path: &Path, backend: impl redb::StorageBackend) -> Result<Self, StoreError> {
        Self::without_thread(Disk::on(path, backend)?)
    }

    fn without_thread(disk: Disk) -> Result<Self, StoreError> {
        let state = RwLock::new(State::load(&disk)?);
        let shared = Arc::new(Shared {
            state,
            disk,
            cleaned: Rounds::default(),
        });
        Ok(Self {
            maintenance: Maintenance::by_hand(),
            reader: Reader { shared },
            restored: None,
        })
    }

    /// A handle for reading beside the applier.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Makes all that was committed durable, and cleans up after compactions.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        maintenance::run(&self.reader.shared)
    }

    fn shared(&self) -> &Shared {
        &self.reader.shared
    }

    fn finish_restore(
        &self,
        write: DiskWrite,
        mut state: State,
        upto: Position,
        library: &LibraryState,
    ) -> io::Result<()> {
        // Locked before the file changes, so that the thread can't write the old state's records into the new file.
        let mut current = self.shared().write();
        let point = state.point(upto, library);
        write.commit(&point).map_err(io::Error::other)?;
        state.committed = point.clone();
        state.durable = point;
        *current = state;
        Ok(())
    }
}

impl StateMachine for Store {
    type Response = Result<Answer, Refusal>;
    type Snapshot = StoreView;

    fn apply(&mut self, entry: Entry<'_>) -> Self::Response {
        assert!(
            self.restored.is_none(),
            "a restored snapshot is committed before anything is applied to it"
        );
        let shared = self.shared();
        let mut state = shared.write();
        if state.failure.is_some() {
            return Err(Refusal::Corrupt);
        }
        // A newer leader might know commands that we don't: going on without them would diverge.
        let Some(kind) = Command::decode(entry.command.clone())
            .ok()
            .and_then(|command| command.kind)
        else {
            state.failure = Some(format!(
                "the log's entry {} holds no command that this version knows",
                entry.position
            ));
            return Err(Refusal::Corrupt);
        };
        execute::apply(&mut state, &shared.disk, kind).map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Broken(error) => {
                state.failure = Some(error.to_string());
                Refusal::Corrupt
            }
        })
    }

    fn snapshot(&self) -> io::Result<StoreView> {
        let state = self.shared().read();
        let view = self.shared().disk.view().map_err(io::Error::other)?;
        Ok(StoreView::new(&state, view))
    }

    fn restore(&mut self, snapshot: &mut dyn io::Read) -> io::Result<()> {
        self.restored = None;
        let write = self.shared().disk.write().map_err(io::Error::other)?;
        let state = snapshot::read(snapshot, &write)?;
        self.restored = Some((write, state));
        Ok(())
    }

    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        if let Some((write, state)) = self.restored.take() {
            return self.finish_restore(write, state, upto, library);
        }
        let mut state = self.shared().write();
        if let Some(failure) = &state.failure {
            return Err(io::Error::other(failure.clone()));
        }
        let compacted = state.compacted > state.committed.compacted;
        state.committed = state.point(upto, library);
        let recent_bytes = state.recent_bytes;
        drop(state);
        self.maintenance.committed(recent_bytes, compacted);
        Ok(())
    }

    fn durable(&self) -> Option<(Position, LibraryState)> {
        let state = self.shared().read();
        Some((state.durable.position, state.durable.library.clone()))
    }

    fn digest(&self) -> Option<u64> {
        Some(self.shared().read().history.into())
    }
}

impl Reader {
    /// Reads a range as of now, or as of the revision that the request names. Returns the page and the store's
    /// revision.
    ///
    /// # Errors
    /// If the revision is compacted or in the future, or the stored data is damaged.
    pub fn range(&self, request: &RangeRequest) -> Result<(Page, i64), Refusal> {
        let state = self.shared.read();
        let horizon = Horizon::at(&state.committed);
        let selection = Selection::new(&state, request, horizon)?;
        // Under the lock: what the index has and memory hasn't is in this view.
        let view = self.shared.disk.view().map_err(|_| Refusal::Corrupt)?;
        drop(state);
        let page = selection
            .page(request, &view)
            .map_err(|_| Refusal::Corrupt)?;
        Ok((page, horizon.revision))
    }

    /// Answers a transaction that only reads.
    ///
    /// # Errors
    /// If a revision is compacted or in the future, or the stored data is damaged.
    ///
    /// # Panics
    /// If the transaction writes.
    pub fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, Refusal> {
        let state = self.shared.read();
        let look = Look {
            state: &state,
            view: &LazyView::new(&self.shared.disk),
            horizon: Horizon::at(&state.committed),
        };
        look.txn(request.clone()).map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Broken(_) => Refusal::Corrupt,
        })
    }

    /// All that is committed, as of now.
    ///
    /// # Errors
    /// If the stored data can't be read.
    pub fn view(&self) -> io::Result<StoreView> {
        let state = self.shared.read();
        let view = self.shared.disk.view().map_err(io::Error::other)?;
        Ok(StoreView::committed(&state, view))
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.shared.read().committed.revision
    }

    /// Reads below this revision are refused.
    pub fn compacted(&self) -> i64 {
        self.shared.read().committed.compacted
    }

    /// What the members say of themselves.
    pub fn attributes(&self) -> Arc<Attributes> {
        self.shared.read().committed.attributes.clone()
    }

    /// Bytes of all that isn't compacted away.
    pub fn bytes(&self) -> u64 {
        self.shared.read().bytes
    }

    /// The size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.shared.disk.file_bytes()
    }

    /// Whether the disk is full, so that what is written waits in memory until there is space.
    pub fn is_full(&self) -> bool {
        self.shared.disk.is_full()
    }

    /// Up to which revision the file has been freed of what was compacted.
    pub fn cleaned(&self) -> i64 {
        self.shared.read().cleaned
    }

    /// Waits until the file is free of what the compaction at `revision` made obsolete; `false` if the store is closed
    /// or broken first.
    pub fn wait_cleaned(&self, revision: i64) -> bool {
        self.shared.cleaned.wait(|| {
            let state = self.shared.read();
            match &state.failure {
                Some(_) => Some(false),
                None => (state.cleaned >= revision).then_some(true),
            }
        })
    }

    /// A CRC-32C over all that a read can still see: the same on every replica at one revision.
    ///
    /// # Errors
    /// If the stored data can't be read or is damaged.
    pub fn hash(&self) -> io::Result<u32> {
        let state = self.shared.read();
        let (from, upto) = (state.committed.compacted.max(1), state.committed.revision);
        let view = self.shared.disk.view().map_err(io::Error::other)?;
        let mut revisions: Vec<Revision> = state.index.visible(from, upto).collect();
        revisions.sort_unstable();
        let mut hash = crc32c::crc32c(&from.to_le_bytes());
        let mut stored = Vec::new();
        for revision in revisions {
            stored.clear();
            state.record(revision, &view)?.encode(revision, &mut stored);
            hash = crc32c::crc32c_append(hash, &stored);
        }
        Ok(hash)
    }
}
