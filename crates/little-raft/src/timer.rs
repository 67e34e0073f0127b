//! One thread wakes all replicas of the process, and the clock they go by.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since some moment of this process; never goes back.
pub(crate) fn monotonic() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    // Not zero at first, so that a core can look back a while.
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 3_600_000_000_000
}

/// Nanoseconds since 1970.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Something with a deadline.
pub(crate) trait Timed: Send + Sync {
    fn alarm(&self) -> &Alarm;
    fn wake(self: Arc<Self>);
}

/// The deadline of one replica. Setting it costs two memory accesses as long as it does not come nearer.
///
/// Invariant: `armed` is the earliest time at which the timer thread will look at `deadline`.
pub(crate) struct Alarm {
    id: u64,
    deadline: AtomicU64,
    armed: AtomicU64,
    /// To be woken within [`SOON`], whatever the deadline.
    soon: AtomicBool,
}

/// How long something may lie in a queue until somebody comes to run it, in nanoseconds.
const SOON: u64 = 1_000_000;

impl Alarm {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            deadline: AtomicU64::new(u64::MAX),
            armed: AtomicU64::new(u64::MAX),
            soon: AtomicBool::new(false),
        }
    }

    /// Asks to be woken once, soon. To be called after what there is to do was queued: whoever wakes takes this back
    /// before looking at the queue.
    pub(crate) fn soon(&self) {
        if !self.soon.load(Ordering::SeqCst) && !self.soon.swap(true, Ordering::SeqCst) {
            timer().arm(monotonic() + SOON, self.id);
        }
    }

    pub(crate) fn set(&self, deadline: u64) {
        self.deadline.store(deadline, Ordering::SeqCst);
        if deadline < self.armed.load(Ordering::SeqCst) {
            self.armed.store(deadline, Ordering::SeqCst);
            timer().arm(deadline, self.id);
        }
    }
}

struct Timer {
    state: Mutex<State>,
    earlier: Condvar,
}

struct State {
    due: BinaryHeap<Reverse<(u64, u64)>>,
    timed: BTreeMap<u64, Weak<dyn Timed>>,
    runs: bool,
}

fn timer() -> &'static Timer {
    static TIMER: OnceLock<Timer> = OnceLock::new();
    TIMER.get_or_init(|| Timer {
        state: Mutex::new(State {
            due: BinaryHeap::new(),
            timed: BTreeMap::new(),
            runs: false,
        }),
        earlier: Condvar::new(),
    })
}

/// From now on, its deadlines are kept.
pub(crate) fn register(timed: &Arc<dyn Timed>) -> std::io::Result<()> {
    let timer = timer();
    let mut state = timer.lock();
    if !state.runs {
        thread::Builder::new()
            .name("raft-timer".into())
            .spawn(|| timer.run())?;
        state.runs = true;
    }
    state.timed.insert(timed.alarm().id, Arc::downgrade(timed));
    Ok(())
}

pub(crate) fn unregister(alarm: &Alarm) {
    timer().lock().timed.remove(&alarm.id);
}

impl Timer {
    fn arm(&self, at: u64, id: u64) {
        let mut state = self.lock();
        let earliest = state.due.peek().is_none_or(|Reverse((due, _))| at < *due);
        state.due.push(Reverse((at, id)));
        drop(state);
        if earliest {
            self.earlier.notify_one();
        }
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = monotonic();
            let wait = match state.due.peek() {
                Some(Reverse((at, _))) if *at <= now => {
                    let Some(Reverse((at, id))) = state.due.pop() else {
                        continue;
                    };
                    let timed = state.timed.get(&id).and_then(Weak::upgrade);
                    drop(state);
                    if let Some(timed) = timed {
                        self.look_at(timed, at, now);
                    }
                    state = self.lock();
                    continue;
                }
                Some(Reverse((at, _))) => Duration::from_nanos(at - now),
                None => Duration::from_secs(3600),
            };
            let waited = self.earlier.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn look_at(&self, timed: Arc<dyn Timed>, at: u64, now: u64) {
        let alarm = timed.alarm();
        let soon = alarm.soon.swap(false, Ordering::SeqCst);
        // What was armed for another time will be looked at then.
        if alarm.armed.load(Ordering::SeqCst) != at {
            return if soon {
                timed.wake()
            };
        }
        // Disarmed first: whoever sets a deadline after the load below finds it so, and arms it anew.
        alarm.armed.store(u64::MAX, Ordering::SeqCst);
        let deadline = alarm.deadline.load(Ordering::SeqCst);
        if soon || deadline <= now {
            timed.wake();
        } else if deadline < u64::MAX {
            alarm.armed.store(deadline, Ordering::SeqCst);
            self.arm(deadline, alarm.id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
