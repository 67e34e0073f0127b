//! Snapshots on their way to followers: a thread each, that is never ahead of the follower by more than a piece.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use little_raft_core::{Base, Input, ReplicaId, SendPiece, SendSnapshot, message};

use super::{Shell, panicked};
use crate::driver::{Event, PieceWriter, Whole};
use crate::machine::{Snapshot, StateMachine};

/// The transfers that go on.
pub(super) struct Transfers {
    going: Mutex<BTreeMap<(ReplicaId, u64), Arc<Wanted>>>,
    pace: Pace,
}

/// Spreads what all transfers send over time.
struct Pace {
    bytes_per_second: Option<u64>,
    /// When the next piece may go.
    free_at: Mutex<Instant>,
}

/// Which piece the follower wants.
#[derive(Default)]
struct Wanted {
    state: Mutex<(Option<u64>, bool)>,
    changed: Condvar,
}

impl Pace {
    /// When a piece of so many bytes may go: after those before it have taken their time.
    fn turn(&self, bytes: usize) -> Option<Instant> {
        let rate = self.bytes_per_second?.max(1);
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*free_at).max(Instant::now());
        *free_at = at + takes;
        Some(at)
    }
}

impl Transfers {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        let free_at = Mutex::new(Instant::now());
        Self {
            going: Mutex::default(),
            pace: Pace {
                bytes_per_second,
                free_at,
            },
        }
    }

    pub(super) fn begin(&self, send: SendSnapshot) {
        let wanted = Arc::new(Wanted::default());
        // The first piece is wanted from the start.
        wanted.set(Some(0), false);
        self.lock().insert((send.to, send.transfer), wanted);
    }

    pub(super) fn want(&self, piece: SendPiece) {
        let wanted = self.lock().get(&(piece.to, piece.transfer)).cloned();
        if let Some(wanted) = wanted {
            wanted.set(Some(piece.offset), false);
        }
    }

    pub(super) fn end(&self, send: SendSnapshot) {
        if let Some(wanted) = self.lock().remove(&(send.to, send.transfer)) {
            wanted.set(None, true);
        }
    }

    pub(super) fn end_all(&self) {
        for (_, wanted) in std::mem::take(&mut *self.lock()) {
            wanted.set(None, true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ReplicaId, u64), Arc<Wanted>>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn set(&self, offset: Option<u64>, ended: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (offset, ended);
        self.changed.notify_one();
    }

    /// Waits until then; `None` if the transfer is over before.
    fn pause(&self, until: Instant) -> Option<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return (!state.1).then_some(());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The offset that is wanted next; `None` once the transfer is over.
    fn wait(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.1 {
                return None;
            }
            if let Some(offset) = state.0.take() {
                return Some(offset);
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Streams a view to a follower, on a thread of its own.
pub(super) fn serve<M: StateMachine>(
    shell: &Arc<Shell<M>>,
    send: SendSnapshot,
    base: Base,
    mut whole: Whole<M::Snapshot>,
) {
    let key = (send.to, send.transfer);
    let Some(wanted) = shell.transfers.lock().get(&key).cloned() else {
        return;
    };
    let started = shell.spawn("raft-send-snapshot", move |shell| {
        let streamed = catch_unwind(AssertUnwindSafe(|| {
            stream(&shell, send, &base, &mut whole, &wanted)
        }));
        match streamed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(to = %send.to, %error, "a snapshot was not sent to its end");
                failed(&shell, send);
            }
            Err(panic) => shell.fail(panicked(&*panic)),
        }
    });
    if started.is_err() {
        failed(shell, send);
    }
}

fn stream<M: StateMachine>(
    shell: &Arc<Shell<M>>,
    send: SendSnapshot,
    base: &Base,
    whole: &mut Whole<M::Snapshot>,
    wanted: &Wanted,
) -> io::Result<()> {
    let over = || io::Error::new(io::ErrorKind::Interrupted, "the transfer is over");
    let mut before: Option<message::Snapshot> = None;
    let mut hand_on = |offset: u64, data: Vec<u8>, done: bool| -> io::Result<()> {
        let piece = message::Snapshot {
            transfer: send.transfer,
            base: base.clone(),
            offset,
            data: Bytes::from(data),
            done,
        };
        loop {
            let next = wanted.wait().ok_or_else(over)?;
            let again = before.as_ref().filter(|before| before.offset == next);
            let chosen = match again {
                Some(before) => before.clone(),
                None if next == offset => {
                    if let Some(at) = shell.transfers.pace.turn(piece.data.len()) {
                        wanted.pause(at).ok_or_else(over)?;
                    }
                    piece.clone()
                }
                None => return Err(io::Error::other("a piece was wanted that is gone")),
            };
            shell.complete(Event::core(Input::SendPiece {
                to: send.to,
                piece: chosen,
            }));
            if next == offset {
                before = Some(piece);
                return Ok(());
            }
        }
    };
    let mut writer = PieceWriter::new(shell.piece_bytes, &mut hand_on);
    whole.write_to(&mut writer)?;
    writer.finish()?;
    let last = before.expect("one piece at least was handed on");
    // The last piece may be wanted again, until the transfer is over.
    while let Some(offset) = wanted.wait() {
        if offset == last.offset {
            shell.complete(Event::core(Input::SendPiece {
                to: send.to,
                piece: last.clone(),
            }));
        }
    }
    Ok(())
}

fn failed<M: StateMachine>(shell: &Arc<Shell<M>>, send: SendSnapshot) {
    shell.complete(Event::core(Input::SendFailed {
        to: send.to,
        transfer: send.transfer,
    }));
}
