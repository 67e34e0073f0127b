//! A stream of writes in the background, with a record of what was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{Client, Outcome};
use super::ledger::{Ledger, value_of};
use super::replicas::{COUNT, SEATS};

/// When to give up an attempt where replicas and their leaders die.
pub const SHORT_PATIENCE: Duration = Duration::from_millis(300);
/// A slow machine gets up to this.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// A lane moves on after so many writes, so that a replica that is back gets its share.
const STAY: u64 = 50;
/// Between a failure and the next attempt, elsewhere.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many writes are under way at a time.
    pub lanes: usize,
    /// How long a lane rests after each.
    pub pause: Duration,
    /// An attempt is given up after this; a slow machine gets more.
    pub patience: Duration,
}

/// Writes until it is stopped. Every write has a key of its own and is tried once: what fails is recorded, not
/// repeated.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    lanes: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clients: Vec<Client>,
    /// Bit by bit, who of them is written to.
    used: AtomicU64,
    prefix: String,
    pause: Duration,
    patience: Duration,
    next: AtomicU64,
    stopping: AtomicBool,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    ledger: Ledger,
    acknowledged_by: [u64; SEATS],
    latencies: Vec<Duration>,
    waiting: Vec<Waiting>,
}

/// For the first acknowledged write that began at `since` or later.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    tell: oneshot::Sender<Instant>,
}

impl Writer {
    /// Starts to write keys that begin with `prefix`, through all founders alike.
    pub fn start(clients: &[Client], prefix: &str, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            clients: clients.to_vec(),
            used: AtomicU64::new((1 << clients.len().min(COUNT)) - 1),
            prefix: prefix.into(),
            pause: pace.pause,
            patience: pace.patience,
            next: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            record: Mutex::default(),
        });
        let lanes = (0..pace.lanes)
            .map(|lane| tokio::spawn(write(Arc::clone(&shared), lane % clients.len().min(COUNT))))
            .collect();
        Self { shared, lanes }
    }

    /// Writes through this one from now on, or no more.
    pub fn use_or_not(&self, which: usize, used: bool) {
        let bit = 1 << which;
        match used {
            true => self.shared.used.fetch_or(bit, Ordering::Relaxed),
            false => self.shared.used.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    /// Tells when the first write was acknowledged that begins at `since` or later. `since` must not be past when this
    /// is called by more than a write takes: what was acknowledged before isn't looked at.
    pub fn acknowledged_since(&self, since: Instant) -> oneshot::Receiver<Instant> {
        let (tell, told) = oneshot::channel();
        self.shared.record().waiting.push(Waiting { since, tell });
        told
    }

    /// How many writes each replica has acknowledged.
    pub fn acknowledged_by(&self) -> [u64; SEATS] {
        self.shared.record().acknowledged_by
    }

    /// How long half of the acknowledged writes took at most.
    pub fn median_latency(&self) -> Duration {
        let mut latencies = self.shared.record().latencies.clone();
        latencies.sort_unstable();
        latencies
            .get(latencies.len() / 2)
            .copied()
            .unwrap_or_default()
    }

    /// Waits for the writes under way, and returns the record of all.
    pub async fn stop(self) -> Ledger {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for lane in self.lanes {
            lane.await.expect("a lane doesn't panic");
        }
        std::mem::take(&mut self.shared.record().ledger)
    }
}

impl Shared {
    /// The next one that is written to; the same if there is no other.
    fn after(&self, at: usize) -> usize {
        let (count, used) = (self.clients.len(), self.used.load(Ordering::Relaxed));
        let others = (1..count).map(|step| (at + step) % count);
        let mut used = others.filter(|which| used & (1 << which) != 0);
        used.next().unwrap_or(at)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: String, at: usize, begun: Instant, outcome: Outcome) {
        let mut record = self.record();
        record.ledger.note(key, outcome);
        if !matches!(outcome, Outcome::Acknowledged { .. }) {
            return;
        }
        let now = Instant::now();
        record.acknowledged_by[at] += 1;
        record.latencies.push(now - begun);
        for index in (0..record.waiting.len()).rev() {
            if record.waiting[index].since <= begun {
                // Whoever no longer waits needn't know.
                let _ = record.waiting.swap_remove(index).tell.send(now);
            }
        }
    }
}

/// One lane: one write after the other, at another replica after each failure.
async fn write(shared: Arc<Shared>, mut at: usize) {
    let (mut patience, mut stayed) = (shared.patience, 0_u64);
    while !shared.stopping.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("{}{number:08}", shared.prefix);
        let begun = Instant::now();
        let outcome = shared.clients[at]
            .put(&key, &value_of(&key), patience)
            .await;
        shared.note(key, at, begun, outcome);
        if let Outcome::Acknowledged { .. } = outcome {
            patience = shared.patience;
            stayed += 1;
            if stayed.is_multiple_of(STAY) {
                at = shared.after(at);
            }
            if !shared.pause.is_zero() {
                tokio::time::sleep(shared.pause).await;
            }
            continue;
        }
        if let Outcome::Unknown { timed_out: true } = outcome {
            patience = (patience * 2).min(LAST_PATIENCE.max(shared.patience));
        }
        at = shared.after(at);
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}
