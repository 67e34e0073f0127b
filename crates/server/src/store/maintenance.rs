//! What the store does beside the applier: writing to the file, and freeing it of what was compacted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use super::error::StoreError;

/// So much waits at most so long before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
const FLUSH_BYTES: usize = 16 << 20;
/// Above this the applier waits: memory has a bound (rule 12).
const RECENT_BYTES_MAX: usize = 128 << 20;
/// Keys looked at in one step of cleaning, while nobody reads.
const COMPACT_KEYS: usize = 4096;

/// The store's thread, if it has one.
pub struct Maintenance {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// Told after each round, for those who wait for what a round does.
#[derive(Default)]
pub struct Rounds {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Rounds {
    /// Waits until `done` gives an answer, or for ever closed: `false`.
    pub fn wait(&self, done: impl Fn() -> Option<bool>) -> bool {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(done) = done() {
                return done;
            }
            if *closed {
                return false;
            }
            closed = self
                .changed
                .wait(closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, is_last: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) |= is_last;
        self.changed.notify_all();
    }
}

#[derive(Default)]
struct Signal {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    /// Something was committed since the last round.
    dirty: bool,
    /// It is much.
    urgent: bool,
    stop: bool,
    rounds: u64,
    /// No more rounds come.
    ended: bool,
}

impl Signal {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do; `false` at the end.
    fn wait(&self) -> bool {
        let mut orders = self.orders();
        while !orders.dirty && !orders.stop {
            orders = self
                .changed
                .wait(orders)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !orders.urgent && !orders.stop {
            let idle = |orders: &mut Orders| !orders.urgent && !orders.stop;
            let waited = self
                .changed
                .wait_timeout_while(orders, FLUSH_INTERVAL, idle);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        orders.dirty = false;
        orders.urgent = false;
        !orders.stop
    }

    fn round_done(&self) {
        self.orders().rounds += 1;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.orders().ended = true;
        self.changed.notify_all();
    }
}

impl Maintenance {
    /// No thread: the owner calls [`run`].
    pub fn by_hand() -> Self {
        let signal = Arc::new(Signal::default());
        signal.end();
        Self {
            signal,
            thread: None,
        }
    }

    pub fn start(shared: &Arc<Shared>) -> Self {
        let signal = Arc::new(Signal::default());
        let thread = std::thread::Builder::new().name("store".into()).spawn({
            let (shared, signal) = (Arc::clone(shared), Arc::clone(&signal));
            move || work(&shared, &signal)
        });
        Self {
            signal,
            thread: Some(thread.expect("the operating system has a thread left for the store")),
        }
    }

    /// Tells the thread that there is something to write, and waits for it if it is far behind.
    pub fn committed(&self, recent_bytes: usize, urgent: bool) {
        let mut orders = self.signal.orders();
        orders.urgent |= urgent || recent_bytes >= FLUSH_BYTES;
        if !orders.dirty || orders.urgent {
            orders.dirty = true;
            self.signal.changed.notify_all();
        }
        if recent_bytes >= RECENT_BYTES_MAX {
            let round = orders.rounds;
            let waiting = |orders: &mut Orders| orders.rounds == round && !orders.ended;
            drop(self.signal.changed.wait_while(orders, waiting));
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.signal.orders().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic has ended it; there is nothing left to stop.
            drop(thread.join());
        }
    }
}

fn work(shared: &Shared, signal: &Signal) {
    let mut more = true;
    while more {
        more = signal.wait();
        if let Err(error) = run(shared) {
            // Rule 2's sense: after a failed write the file can't be trusted, so the next commit ends the replica.
            shared.write().failure = Some(error.to_string());
            more = false;
        }
        signal.round_done();
        shared.cleaned.tell(false);
    }
    signal.end();
    shared.cleaned.tell(true);
}

/// One round: all that is committed goes to the file, then what was compacted leaves it.
pub fn run(shared: &Shared) -> Result<(), StoreError> {
    flush(shared)?;
    clean(shared)
}

pub fn flush(shared: &Shared) -> Result<(), StoreError> {
    // First the right to write, then what to write: a restore in between replaces everything.
    let write = shared.disk.write()?;
    let (records, point) = {
        let state = shared.read();
        if state.durable == state.committed {
            return Ok(());
        }
        // All of it at once: the file must not say that it is at an entry and hold half of it, or more.
        let point = state.committed.clone();
        let committed = state
            .recent
            .iter()
            .take_while(|(written, _)| written.main <= point.revision);
        (committed.cloned().collect::<Vec<_>>(), point)
    };
    write.insert(&records)?;
    write.commit(&point)?;
    shared.write().flushed(point);
    Ok(())
}

/// Only what a durable compaction made obsolete is removed, so that all of it is in the file, and a crash in between
/// finds the rest to do by itself. A key's obsolete versions go together: a tombstone never leaves what it hides.
fn clean(shared: &Shared) -> Result<(), StoreError> {
    loop {
        let write = shared.disk.write()?;
        let mut dropped = Vec::new();
        let (point, done) = {
            let mut state = shared.write();
            let done = state.clean_some(COMPACT_KEYS, &mut dropped);
            (state.durable.clone(), done)
        };
        if !dropped.is_empty() {
            write.remove(&dropped)?;
            write.commit(&point)?;
        }
        if let Some(revision) = done {
            shared.write().cleaned(revision);
            return Ok(());
        }
    }
}
