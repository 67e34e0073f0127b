//! The bodies of a replica's own threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::core::RETRY_FULL;
use super::{Shell, panicked};
use crate::driver::{Event, LogWriter, Store};
use crate::error::StopReason;
use crate::machine::StateMachine;
use crate::timer;

/// Goes on where callers have served their slice.
pub(super) fn help<M: StateMachine>(shell: Arc<Shell<M>>) {
    while let Some(cores) = shell.helper.take(None) {
        for core in cores {
            shell.run(core, usize::MAX);
        }
    }
}

/// After how long without a write the storage is told that it is idle.
const IDLE: Duration = Duration::from_secs(1);

/// Makes durable: all that has queued up, one append, one report.
pub(super) fn write_log<M: StateMachine>(shell: &Arc<Shell<M>>, mut log: LogWriter) {
    let (mut timeout, mut retry) = (None, false);
    while let Some(writes) = shell.log.take(timeout) {
        let idle = writes.is_empty() && !retry;
        let outcome = catch_unwind(AssertUnwindSafe(|| match idle {
            true => log.idle().map(|()| None),
            false => log.run(writes).map(Some),
        }));
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            // Rule 2: nothing is tried again, and nothing more is acknowledged.
            Ok(Err(error)) => return shell.fail(StopReason::from(error)),
            Err(panic) => return shell.fail(panicked(&*panic)),
        };
        let Some(outcome) = outcome else {
            timeout = None;
            continue;
        };
        retry = outcome.retry;
        timeout = Some(if retry { RETRY_FULL } else { IDLE });
        for input in outcome.inputs() {
            shell.complete(Event::core(input));
        }
    }
}

/// Reads for slow followers, and stores what arrives for us when we are one.
pub(super) fn keep<M: StateMachine>(shell: &Arc<Shell<M>>, mut store: Store) {
    while let Some(works) = shell.store.take(None) {
        for work in works {
            match catch_unwind(AssertUnwindSafe(|| store.run(work))) {
                Ok(input) => shell.complete(Event::core(input)),
                Err(panic) => return shell.fail(panicked(&*panic)),
            }
        }
    }
}

/// Applies what nobody's call can apply.
pub(super) fn apply<M: StateMachine>(shell: &Arc<Shell<M>>) {
    while shell.lane_bell.wait() {
        if let Some(lane) = shell.lane.grab() {
            shell.run_lane(lane, usize::MAX, &mut timer::monotonic());
        }
    }
}
