//! The hand-over: a queue in front of something that one thread at a time runs, and no thread of its own.
//!
//! Whoever brings an input takes the state along if it is free, runs it, and looks at the queue again before giving
//! it back. Both happen under one lock, so no input can be left behind: either the giver-back sees it, or its bringer
//! finds the state free. The lock is held for a push or a swap only, never while anything runs.
//!
//! `tests/loom.rs` checks this with every interleaving of a small model.

use std::collections::VecDeque;

// `tests/loom.rs` compiles this very file with a `sync` of its own.
use crate::sync::{Condvar, Mutex, MutexGuard};

/// A queue of inputs `I` and the state `S` that runs them.
pub struct Combine<I, S> {
    inner: Mutex<Inner<I, S>>,
    freed: Condvar,
    bound: usize,
}

struct Inner<I, S> {
    queue: VecDeque<I>,
    state: Place<S>,
    /// Nothing more is taken in; what runs, runs on.
    refusing: bool,
    closing: bool,
}

enum Place<S> {
    Free(S),
    /// Some thread runs it.
    Taken,
    Closed,
}

/// What became of an input.
#[derive(Debug)]
pub enum Pushed<I, S> {
    /// It is queued, and whoever runs the state will see it.
    Queued,
    /// It is queued, and the caller must run the state now.
    Run(S),
    /// The queue is full, and the input was not one of our own.
    Full(I),
    /// Nothing runs any more.
    Closed(I),
}

impl<I, S> Combine<I, S> {
    /// A free `state` behind an empty queue of at most `bound` inputs from others. Our own completions have room
    /// always: there are never more of them than what we set going ourselves.
    pub fn new(state: S, bound: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                state: Place::Free(state),
                refusing: false,
                closing: false,
            }),
            freed: Condvar::new(),
            bound,
        }
    }

    /// Queues an input from outside, if there is room, and takes the state, if it is free.
    pub fn push(&self, input: I) -> Pushed<I, S> {
        self.push_within(input, self.bound, true)
    }

    /// Queues a completion of our own, for which there is always room.
    pub fn push_own(&self, input: I) -> Pushed<I, S> {
        self.push_within(input, usize::MAX, true)
    }

    /// Queues an input from outside, if there is room, without taking the state: somebody must be told to
    /// [`grab`](Self::grab) it.
    pub fn try_leave(&self, input: I) -> Pushed<I, S> {
        self.push_within(input, self.bound, false)
    }

    /// The same for one of our own, for which there is always room.
    pub fn leave(&self, input: I) -> Pushed<I, S> {
        self.push_within(input, usize::MAX, false)
    }

    fn push_within(&self, input: I, bound: usize, may_run: bool) -> Pushed<I, S> {
        let mut inner = self.lock();
        if inner.refusing || inner.closing || matches!(inner.state, Place::Closed) {
            return Pushed::Closed(input);
        }
        if inner.queue.len() >= bound {
            return Pushed::Full(input);
        }
        inner.queue.push_back(input);
        if !may_run {
            return Pushed::Queued;
        }
        match inner.take() {
            Some(state) => Pushed::Run(state),
            None => Pushed::Queued,
        }
    }

    /// The state, if it is free, whether or not anything waits for it.
    pub fn grab(&self) -> Option<S> {
        let mut inner = self.lock();
        match inner.closing {
            true => None,
            false => inner.take(),
        }
    }

    /// Moves up to `count` waiting inputs into `batch`. Says whether more wait.
    pub fn refill(&self, batch: &mut VecDeque<I>, count: usize) -> bool {
        let mut inner = self.lock();
        inner.fill(batch, count);
        !inner.queue.is_empty()
    }

    /// Gives the state back if nothing waits for it; else returns it, to be run on.
    pub fn give_back(&self, state: S) -> Option<S> {
        let mut inner = self.lock();
        if !inner.queue.is_empty() && !inner.closing {
            return Some(state);
        }
        inner.free(state);
        if inner.closing {
            self.freed.notify_all();
        }
        None
    }

    /// Gives the state back though something may wait: true says that somebody must be told to take it.
    pub fn put_down(&self, state: S) -> bool {
        let mut inner = self.lock();
        inner.free(state);
        if inner.closing {
            self.freed.notify_all();
        }
        !inner.queue.is_empty()
    }

    /// Takes no more input; to be followed by [`close`](Self::close).
    pub fn refuse(&self) {
        self.lock().refusing = true;
    }

    /// Closes for good: waits until nobody runs the state, and returns it with what was still queued. `None` if
    /// somebody else closed it.
    pub fn close(&self) -> Option<(S, VecDeque<I>)> {
        let mut inner = self.lock();
        if inner.closing || matches!(inner.state, Place::Closed) {
            return None;
        }
        inner.closing = true;
        loop {
            if let Some(state) = inner.take() {
                inner.state = Place::Closed;
                return Some((state, std::mem::take(&mut inner.queue)));
            }
            if matches!(inner.state, Place::Closed) {
                return None;
            }
            inner = self.freed.wait(inner).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Closes for good in the hands of whoever runs the state, and returns what was still queued.
    pub fn close_taken(&self) -> VecDeque<I> {
        let mut inner = self.lock();
        inner.state = Place::Closed;
        self.freed.notify_all();
        std::mem::take(&mut inner.queue)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<I, S>> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl<I, S> Inner<I, S> {
    fn take(&mut self) -> Option<S> {
        match std::mem::replace(&mut self.state, Place::Taken) {
            Place::Free(state) => Some(state),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn free(&mut self, state: S) {
        assert!(
            matches!(self.state, Place::Taken),
            "a state was given back that nobody had taken"
        );
        self.state = Place::Free(state);
    }

    fn fill(&mut self, batch: &mut VecDeque<I>, count: usize) {
        if batch.is_empty() && self.queue.len() <= count {
            std::mem::swap(batch, &mut self.queue);
        } else {
            let count = count.min(self.queue.len());
            batch.extend(self.queue.drain(..count));
        }
    }
}
