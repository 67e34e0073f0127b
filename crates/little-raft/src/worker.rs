//! What the replica's own threads sleep on. A thread that runs already is not woken again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work for one thread.
pub(crate) struct Mailbox<W> {
    inner: Mutex<Inner<W>>,
    bell: Condvar,
}

struct Inner<W> {
    work: VecDeque<W>,
    asleep: bool,
    closed: bool,
}

impl<W> Mailbox<W> {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                work: VecDeque::new(),
                asleep: false,
                closed: false,
            }),
            bell: Condvar::new(),
        }
    }

    /// Puts work in; gives it back if the mailbox is closed.
    pub(crate) fn push(&self, work: W) -> Option<W> {
        let mut inner = self.lock();
        if inner.closed {
            return Some(work);
        }
        inner.work.push_back(work);
        if std::mem::take(&mut inner.asleep) {
            drop(inner);
            self.bell.notify_one();
        }
        None
    }

    /// Takes all that waits, sleeping until there is something. Nothing, once `timeout` is over. `None` once it is
    /// closed and empty.
    pub(crate) fn take(&self, timeout: Option<Duration>) -> Option<VecDeque<W>> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut inner = self.lock();
        loop {
            if !inner.work.is_empty() {
                return Some(std::mem::take(&mut inner.work));
            }
            if inner.closed {
                return None;
            }
            inner.asleep = true;
            inner = match until {
                None => self
                    .bell
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        inner.asleep = false;
                        return Some(VecDeque::new());
                    }
                    let waited = self.bell.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            inner.asleep = false;
        }
    }

    /// Nothing more goes in; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that there is something to look at, any number of times as one.
pub(crate) struct Bell(Mailbox<()>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(Mailbox::new())
    }

    pub(crate) fn ring(&self) {
        let mut inner = self.0.lock();
        if inner.work.is_empty() && !inner.closed {
            inner.work.push_back(());
            if std::mem::take(&mut inner.asleep) {
                drop(inner);
                self.0.bell.notify_one();
            }
        }
    }

    /// Sleeps until it rings. False once it is closed.
    pub(crate) fn wait(&self) -> bool {
        self.0.take(None).is_some()
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}
