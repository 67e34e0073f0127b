//! Tasks that share a thread: their proposals are run together, and go on whether or not anybody comes back.
#![allow(missing_docs)]

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Group, outcome, until};
use little_raft::{Pending, ProposeError, Timing};

#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Proposed = Pending<usize, ProposeError>;

fn poll(pending: &mut Proposed, task: &Arc<Task>) -> Poll<Result<usize, ProposeError>> {
    let waker = Waker::from(task.clone());
    Pin::new(pending).poll(&mut Context::from_waker(&waker))
}

/// Two tasks have looked on this thread: from here on, what they propose is queued.
fn share_this_thread(group: &Group) {
    let leader = group.leader();
    let tasks = [(); 2].map(|()| Arc::new(Task::default()));
    for task in &tasks {
        let mut pending = group.at(leader).propose("before");
        until("it is applied", || {
            poll(&mut pending, task).is_ready().then_some(())
        });
    }
}

#[test]
fn the_first_to_come_back_runs_what_all_have_proposed() {
    let group = Group::new(3);
    share_this_thread(&group);
    let leader = group.at(group.leader());
    let mut asked: Vec<_> = (0..10)
        .map(|_| (Arc::new(Task::default()), leader.propose("shared")))
        .collect();
    for (task, pending) in &mut asked {
        assert!(poll(pending, task).is_pending(), "it gives way first");
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "and wakes itself");
    }
    for (nth, (task, pending)) in asked.iter_mut().enumerate() {
        let answer = until("it is applied", || match poll(pending, task) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        });
        assert_eq!(answer, Ok(3 + nth), "in the order of proposing");
    }
}

#[test]
fn what_nobody_looks_at_goes_on_by_itself() {
    let group = Group::new(3);
    share_this_thread(&group);
    let_deadlines_be_far(&group);
    let leader = group.at(group.leader());
    let begun = Instant::now();
    let kept = leader.propose("kept, and never looked at");
    drop(leader.propose("dropped"));
    until("both are applied", || {
        (leader.status().applied >= 5).then_some(())
    });
    assert!(begun.elapsed() < FAR / 2, "not by a heartbeat");
    assert!(kept.is_ready());
}

/// Longer than all that happens by itself.
const FAR: Duration = Duration::from_secs(10);

fn let_deadlines_be_far(group: &Group) {
    let timing = Timing {
        heartbeat: FAR,
        election: 4 * FAR,
    };
    for replica in group.running() {
        replica.set_timing(timing).expect("they fit");
    }
    // The heartbeat that was due already.
    thread::sleep(Duration::from_millis(100));
}

#[test]
fn who_blocks_the_thread_runs_what_was_left() {
    let group = Group::new(1);
    share_this_thread(&group);
    assert_eq!(outcome(group.at(1).propose("waited for")), Ok(3));
    share_this_thread(&group);
    assert_eq!(group.at(1).propose("waited for").wait(), Ok(6));
}

#[test]
fn a_left_proposal_ends_when_the_replica_stops() {
    let mut group = Group::new(1);
    share_this_thread(&group);
    let mut pending = pin!(group.at(1).propose("late"));
    group.kill(1);
    let task = Arc::new(Task::default());
    until("it ends", || {
        poll(&mut pending, &task).is_ready().then_some(())
    });
}
