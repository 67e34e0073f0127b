//! What a thread is to the driver at the moment.
//!
//! A user's own thread that proposes in a cluster in memory ends up running every replica's core in turn. What they
//! commit can then be applied on it too, without waking anybody, but only after all cores are free again: a slow
//! state machine must not keep a core (and so an election's peace) waiting.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::timer;

/// A replica with committed entries to apply.
pub(super) trait Apply {
    /// Applies a bounded number of them on this thread. `clock` is the time, and afterwards the time then.
    fn apply_some(self: Arc<Self>, clock: &mut u64);
    /// Leaves them to the applier thread.
    fn leave_to_thread(&self);
}

struct Caller {
    active: bool,
    waiting: Vec<Arc<dyn Apply>>,
}

thread_local! {
    static CALLER: RefCell<Caller> = const { RefCell::new(Caller { active: false, waiting: Vec::new() }) };
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// How many times a caller applies for somebody before it goes its way.
const ROUNDS: usize = 32;

/// Does `work`, then applies what it committed.
pub(super) fn as_caller(work: impl FnOnce()) {
    if is_running() || CALLER.with_borrow_mut(|caller| std::mem::replace(&mut caller.active, true))
    {
        return work();
    }
    work();
    if let Some(replica) = next() {
        apply(replica);
    }
    CALLER.with_borrow_mut(|caller| caller.active = false);
}

fn apply(first: Arc<dyn Apply>) {
    let mut clock = timer::monotonic();
    first.apply_some(&mut clock);
    for _ in 1..ROUNDS {
        match next() {
            Some(replica) => replica.apply_some(&mut clock),
            None => return,
        }
    }
    while let Some(replica) = next() {
        replica.leave_to_thread();
    }
}

fn next() -> Option<Arc<dyn Apply>> {
    CALLER.with_borrow_mut(|caller| (!caller.waiting.is_empty()).then(|| caller.waiting.remove(0)))
}

/// Whether this thread will apply for `replica` by itself.
pub(super) fn defer<A: Apply + 'static>(replica: &Arc<A>) -> bool {
    CALLER.with_borrow_mut(|caller| {
        if !caller.active {
            return false;
        }
        let same =
            |known: &Arc<dyn Apply>| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(replica));
        if !caller.waiting.iter().any(same) {
            caller.waiting.push(replica.clone());
        }
        true
    })
}

/// Marks that this thread runs a core or a state machine.
pub(super) struct Running;

impl Running {
    pub(super) fn enter() -> Self {
        RUNNING.set(RUNNING.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Whether this thread is inside a run, so that waiting for its end would never end.
pub(super) fn is_running() -> bool {
    RUNNING.get() > 0
}
