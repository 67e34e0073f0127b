//! The answer that comes later: a future for any executor, and something to wait on for threads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::turns;

/// An operation under way. Await it on any executor, or [`wait`](Self::wait) for it on a thread.
///
/// The operation goes on whether or not anybody looks: dropping a `Pending` cancels nothing. Each ends exactly once,
/// also when the replica stops or panics.
#[must_use = "dropping this loses the outcome, though the operation goes on"]
pub struct Pending<T, E> {
    slot: Arc<Slot<Result<T, E>>>,
    turn: Turn,
}

/// Where a task stands that shares its thread with others: see [`turns`].
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// Nobody has looked.
    New,
    /// Nobody has looked, and the operation is queued only.
    Left,
    /// Somebody gave way, or blocks: from now on it must be run.
    Due,
    Over,
}

impl<T, E> Pending<T, E> {
    /// The operation is queued, and left to be run when its task, or another of this thread, comes back.
    pub(crate) fn leave(&mut self) {
        self.turn = Turn::Left;
    }

    /// Whether this look gives way to other tasks of the thread.
    fn gives_way(&mut self, waker: &Waker) -> bool {
        match std::mem::replace(&mut self.turn, Turn::Over) {
            Turn::New => turns::looks(waker),
            Turn::Left => {
                self.turn = Turn::Due;
                turns::looks(waker);
                true
            }
            Turn::Due | Turn::Over => false,
        }
    }

    /// Nobody gives way to who blocks a thread.
    fn run_what_is_left(&mut self) {
        if std::mem::replace(&mut self.turn, Turn::Over) == Turn::Left {
            turns::settle();
        }
    }
}

impl<T, E> Pending<T, E> {
    /// Blocks this thread until the operation has ended.
    ///
    /// # Errors
    /// The operation's own.
    pub fn wait(mut self) -> Result<T, E> {
        self.run_what_is_left();
        loop {
            if let Some(outcome) = self.slot.take_or(|| Listener::Thread(thread::current())) {
                return outcome;
            }
            thread::park();
        }
    }

    /// Like [`wait`](Self::wait), but not longer than `timeout`.
    ///
    /// # Errors
    /// Gives itself back when the time is over: the operation is still under way and can be waited for again.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Result<T, E>, Self> {
        self.run_what_is_left();
        let until = Instant::now() + timeout;
        loop {
            if let Some(outcome) = self.slot.take_or(|| Listener::Thread(thread::current())) {
                return Ok(outcome);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self);
            }
            thread::park_timeout(left);
        }
    }

    /// Whether the operation has ended, so that waiting would not block.
    pub fn is_ready(&self) -> bool {
        matches!(*self.slot.lock(), Stage::Done(_) | Stage::Expired(_))
    }
}

impl<T, E> Future for Pending<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker();
        let is_due = self.turn == Turn::Due;
        if self.gives_way(waker) {
            waker.wake_by_ref();
            return Poll::Pending;
        }
        if is_due && !self.is_ready() {
            turns::settle();
        }
        match self.slot.take_or(|| Listener::Task(waker.clone())) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl<T, E> fmt::Debug for Pending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("ready", &self.is_ready())
            .finish()
    }
}

/// An error that says: whoever should have answered is gone.
pub trait Abandoned {
    /// That error.
    fn abandoned() -> Self;
}

/// The other end of a [`Pending`]: whoever holds it owes the answer.
///
/// Invariant: each is answered exactly once. Sending consumes it, and dropping it sends [`Abandoned::abandoned`].
pub struct Answer<T, E: Abandoned> {
    slot: Option<Arc<Slot<Result<T, E>>>>,
}

impl<T, E: Abandoned> Answer<T, E> {
    /// Both ends.
    pub fn new() -> (Self, Pending<T, E>) {
        let slot = Arc::new(Slot(Mutex::new(Stage::Open(Listener::Nobody))));
        let pending = Pending {
            slot: slot.clone(),
            turn: Turn::New,
        };
        (Self { slot: Some(slot) }, pending)
    }

    /// Ends the operation and wakes whoever waits. Call it with no lock held.
    pub fn send(mut self, outcome: Result<T, E>) {
        if let Some(slot) = self.slot.take() {
            slot.end(outcome);
        }
    }
}

impl<T: Send + 'static, E: Abandoned + Send + 'static> Answer<T, E> {
    /// Lets somebody end the wait before the answer is there.
    pub(crate) fn limit(&self) -> Option<Arc<dyn Limit>> {
        let slot = self.slot.clone()?;
        Some(slot)
    }
}

/// A wait that can be ended early, as [`Abandoned::abandoned`]; the answer is not looked at then.
pub(crate) trait Limit: Send + Sync {
    /// Ends it, unless it has ended. Call it with no lock held.
    fn expire(&self);
    /// Whether it has ended.
    fn is_over(&self) -> bool;
}

impl<T: Send, E: Abandoned + Send> Limit for Slot<Result<T, E>> {
    fn expire(&self) {
        let mut stage = self.lock();
        if let Stage::Open(_) = *stage {
            let before = std::mem::replace(&mut *stage, Stage::Expired(Some(Err(E::abandoned()))));
            drop(stage);
            before.wake();
        }
    }

    fn is_over(&self) -> bool {
        !matches!(*self.lock(), Stage::Open(_))
    }
}

impl<T, E: Abandoned> Drop for Answer<T, E> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.end(Err(E::abandoned()));
        }
    }
}

impl<T, E: Abandoned> fmt::Debug for Answer<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

struct Slot<V>(Mutex<Stage<V>>);

enum Stage<V> {
    Open(Listener),
    Done(V),
    Taken,
    /// Ended before its answer was there, which is still to come and will be dropped.
    Expired(Option<V>),
}

enum Listener {
    Nobody,
    Task(Waker),
    Thread(Thread),
}

impl<V> Slot<V> {
    fn lock(&self) -> MutexGuard<'_, Stage<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, value: V) {
        let mut stage = self.lock();
        if matches!(*stage, Stage::Expired(_)) {
            return;
        }
        let before = std::mem::replace(&mut *stage, Stage::Done(value));
        drop(stage);
        before.wake();
    }

    /// The outcome, if it is there; else whom to wake is noted.
    fn take_or(&self, listener: impl FnOnce() -> Listener) -> Option<V> {
        let mut stage = self.lock();
        match &mut *stage {
            Stage::Open(known) => {
                *known = listener();
                None
            }
            Stage::Done(_) => match std::mem::replace(&mut *stage, Stage::Taken) {
                Stage::Done(value) => Some(value),
                _ => unreachable!("matched above, under the lock"),
            },
            Stage::Expired(value) if value.is_some() => value.take(),
            Stage::Taken | Stage::Expired(_) => {
                panic!("a Pending was polled after it had given its outcome")
            }
        }
    }
}

impl<V> Stage<V> {
    /// Wakes who listened at this stage. Call it with no lock held.
    fn wake(self) {
        match self {
            Self::Open(Listener::Nobody) => {}
            Self::Open(Listener::Task(waker)) => waker.wake(),
            Self::Open(Listener::Thread(thread)) => thread.unpark(),
            Self::Done(_) | Self::Taken | Self::Expired(_) => panic!("an operation ended twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Gone;
    impl Abandoned for Gone {
        fn abandoned() -> Self {
            Gone
        }
    }

    #[test]
    fn a_dropped_answer_ends_its_pending() {
        let (answer, pending) = Answer::<u8, Gone>::new();
        drop(answer);
        assert_eq!(pending.wait(), Err(Gone));
    }

    #[test]
    fn a_wait_that_was_ended_early_stays_ended() {
        let (answer, pending) = Answer::<u8, Gone>::new();
        let limit = answer.limit().expect("it is open");
        let waiting = thread::spawn(move || pending.wait());
        limit.expire();
        limit.expire();
        assert_eq!(waiting.join().expect("no panic"), Err(Gone));
        assert!(limit.is_over());
        answer.send(Ok(7));
        let (answer, pending) = Answer::<u8, Gone>::new();
        let limit = answer.limit().expect("it is open");
        answer.send(Ok(7));
        limit.expire();
        assert_eq!(pending.wait(), Ok(7));
    }

    #[test]
    fn a_timeout_gives_the_pending_back() {
        let (answer, pending) = Answer::<u8, Gone>::new();
        let pending = pending
            .wait_timeout(Duration::from_millis(1))
            .expect_err("nothing was sent yet");
        let waiting = thread::spawn(move || pending.wait());
        answer.send(Ok(7));
        assert_eq!(waiting.join().expect("no panic"), Ok(7));
    }

    /// A waker may look at what it wakes for, at once and on the same thread.
    #[test]
    fn no_lock_is_held_while_a_task_is_woken() {
        struct Looks {
            pending: Mutex<Option<Pending<u8, Gone>>>,
            saw: std::sync::mpsc::Sender<bool>,
        }
        impl std::task::Wake for Looks {
            fn wake(self: Arc<Self>) {
                let pending = self.pending.lock().expect("no panic");
                let is_ready = pending.as_ref().is_some_and(Pending::is_ready);
                self.saw.send(is_ready).expect("the test listens");
            }
        }
        let (saw, seen) = std::sync::mpsc::channel();
        let looks = Arc::new(Looks {
            pending: Mutex::new(None),
            saw,
        });
        let waker = Waker::from(looks.clone());
        let (answer, mut pending) = Answer::<u8, Gone>::new();
        let polled = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        *looks.pending.lock().expect("no panic") = Some(pending);
        thread::spawn(move || answer.send(Ok(1)));
        let is_ready = seen.recv_timeout(Duration::from_secs(20));
        assert_eq!(is_ready, Ok(true), "the waker was held up");
    }

    #[test]
    fn a_task_is_woken_once_the_answer_is_there() {
        struct Count(std::sync::atomic::AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let (answer, mut pending) = Answer::<u8, Gone>::new();
        assert!(Pin::new(&mut pending).poll(&mut context).is_pending());
        answer.send(Ok(1));
        assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert_eq!(
            Pin::new(&mut pending).poll(&mut context),
            Poll::Ready(Ok(1))
        );
    }
}
