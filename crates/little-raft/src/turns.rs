//! Tasks that share a thread let each other speak before one of them runs what all have said.
//!
//! Storage in memory answers a proposal before `propose` returns, so a thread with many tasks would run each one's
//! to its end and never find two to run together. So once several tasks are seen on a thread, their proposals only
//! queue there ([`is_shared`]); each task gives way once, and the first that comes back runs them all ([`settle`]).
//! Nothing hangs on it: whoever runs the replica takes them along, and its alarm does if nobody comes back.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::task::Waker;

/// Somebody who left something to be run.
pub(crate) trait Owed {
    fn run(self: Arc<Self>);
}

struct Turns {
    /// The task that looked last.
    task: usize,
    /// For how many looks of one task in a row this thread still counts as shared.
    company: u32,
    /// How many looks of one task in a row, up to [`ALONE_MAX`].
    alone: u32,
    /// Weak: what has stopped owes nothing, and is not kept by a thread that never comes back.
    owed: Vec<Weak<dyn Owed>>,
}

/// So many looks of one task make it the only one.
const COMPANY: u32 = 16;
/// After so many looks, a task gives way once, to see whether there are others that never got their turn.
const ALONE_MAX: u32 = 256;

thread_local! {
    static TURNS: RefCell<Turns> =
        const { RefCell::new(Turns { task: 0, company: 0, alone: 0, owed: Vec::new() }) };
}

/// Whether several tasks ask on this thread.
pub(crate) fn is_shared() -> bool {
    TURNS.with_borrow(|turns| turns.company > 0)
}

/// A task looks at an answer for the first time. Whether it should give way to others, though it has no other reason.
pub(crate) fn looks(waker: &Waker) -> bool {
    let task = waker.data() as usize;
    TURNS.with_borrow_mut(|turns| {
        if turns.task != task {
            turns.task = task;
            turns.company = COMPANY;
            turns.alone = 0;
            return false;
        }
        turns.company = turns.company.saturating_sub(1);
        turns.alone = (turns.alone + 1) % ALONE_MAX;
        turns.alone == 0
    })
}

/// What `owed` has queued is run when a task of this thread comes back.
pub(crate) fn owe<O: Owed + 'static>(owed: &Arc<O>) {
    TURNS.with_borrow_mut(|turns| {
        let same =
            |known: &Weak<dyn Owed>| std::ptr::addr_eq(Weak::as_ptr(known), Arc::as_ptr(owed));
        if !turns.owed.iter().any(same) {
            let owed: Weak<dyn Owed> = Arc::<O>::downgrade(owed);
            turns.owed.push(owed);
        }
    });
}

/// Runs what was left on this thread.
pub(crate) fn settle() {
    let mut owed = TURNS.with_borrow_mut(|turns| std::mem::take(&mut turns.owed));
    for owed in owed.drain(..) {
        if let Some(owed) = owed.upgrade() {
            owed.run();
        }
    }
    TURNS.with_borrow_mut(|turns| {
        if turns.owed.is_empty() {
            turns.owed = owed;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    struct Debt(AtomicU32);
    impl Owed for Debt {
        fn run(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_thread_is_shared_while_several_tasks_look() {
        let (one, two) = (Arc::new(Task), Arc::new(Task));
        let (one, two) = (Waker::from(one), Waker::from(two));
        looks(&one);
        looks(&two);
        assert!(is_shared());
        for _ in 0..COMPANY {
            looks(&two);
        }
        assert!(!is_shared(), "the other has gone");
    }

    #[test]
    fn one_task_gives_way_now_and_then() {
        let task = Waker::from(Arc::new(Task));
        let given = (0..=2 * ALONE_MAX).filter(|_| looks(&task)).count();
        assert_eq!(given, 2);
    }

    #[test]
    fn a_debt_is_run_once() {
        let debt = Arc::new(Debt(AtomicU32::new(0)));
        owe(&debt);
        owe(&debt);
        settle();
        settle();
        assert_eq!(debt.0.load(Ordering::SeqCst), 1);
    }
}
