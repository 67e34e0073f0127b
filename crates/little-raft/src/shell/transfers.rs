//! Snapshots on their way to followers: a thread each, that is never ahead of the follower by more than a piece.
//!
//! A transfer that breaks off leaves its thread waiting for a while, with what it sends: the next transfer to that
//! follower goes on with it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use little_raft_core::{Input, Position, ReplicaId, SendPiece, SendSnapshot, Sent, message};

use super::wanted::Wanted;
use super::{Shell, panicked};
use crate::driver::{Event, Label, PieceWriter, Source};
use crate::machine::StateMachine;

/// The transfers that go on, and those that broke off.
pub(super) struct Transfers {
    going: Mutex<BTreeMap<ReplicaId, Arc<Wanted>>>,
    pace: Pace,
}

/// Spreads what all transfers send over time.
struct Pace {
    bytes_per_second: Option<u64>,
    /// When the next piece may go.
    free_at: Mutex<Instant>,
}

/// How a transfer begins.
pub(super) enum Begun {
    /// It goes on with what was sent before.
    Resumed,
    /// Something is to be found to send, but not the snapshot at this position: it did not do.
    Anew(Option<Position>),
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

    pub(super) fn begin(&self, send: SendSnapshot) -> Begun {
        let mut going = self.lock();
        let before = going.get(&send.to);
        if before.is_some_and(|wanted| wanted.resume(send)) {
            return Begun::Resumed;
        }
        let except = before.and_then(|wanted| wanted.end());
        going.insert(send.to, Arc::new(Wanted::begin(send.transfer)));
        Begun::Anew(except)
    }

    pub(super) fn want(&self, piece: SendPiece) {
        if let Some(wanted) = self.of(piece.to) {
            wanted.want(piece);
        }
    }

    pub(super) fn end(&self, sent: Sent) {
        if let Some(wanted) = self.of(sent.to) {
            wanted.sent(sent);
        }
    }

    pub(super) fn end_all(&self) {
        for (_, wanted) in std::mem::take(&mut *self.lock()) {
            wanted.end();
        }
    }

    fn of(&self, to: ReplicaId) -> Option<Arc<Wanted>> {
        self.lock().get(&to).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Arc<Wanted>>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Streams a snapshot to a follower, on a thread of its own.
pub(super) fn serve<M: StateMachine>(
    shell: &Arc<Shell<M>>,
    send: SendSnapshot,
    source: Source<M::Snapshot>,
) {
    let position = source.label().base().position;
    let wanted = shell.transfers.of(send.to);
    let Some(wanted) = wanted.filter(|wanted| wanted.takes(send.transfer, position)) else {
        return;
    };
    let waiting = wanted.clone();
    let started = shell.spawn("raft-send-snapshot", move |shell| {
        let streamed = catch_unwind(AssertUnwindSafe(|| {
            serve_transfers(&shell, send, source, &wanted);
        }));
        if let Err(panic) = streamed {
            shell.fail(panicked(&*panic));
        }
    });
    if started.is_err() {
        waiting.end();
        failed(shell, send.to, send.transfer);
    }
}

/// One transfer after the other, as long as each breaks off.
fn serve_transfers<M: StateMachine>(
    shell: &Arc<Shell<M>>,
    send: SendSnapshot,
    mut source: Source<M::Snapshot>,
    wanted: &Wanted,
) {
    let mut next = Some(send.transfer);
    while let Some(transfer) = next {
        let sending = Sending {
            shell,
            to: send.to,
            transfer,
            wanted,
            label: source.label().clone(),
            asked: None,
            last: None,
        };
        let Err(error) = sending.stream(&mut source);
        if wanted.fail(transfer) {
            tracing::warn!(to = %send.to, %error, "a snapshot was not sent to its end");
            return failed(shell, send.to, transfer);
        }
        next = wanted.next();
    }
}

/// One transfer.
struct Sending<'a, M: StateMachine> {
    shell: &'a Arc<Shell<M>>,
    to: ReplicaId,
    transfer: u64,
    wanted: &'a Wanted,
    label: Label,
    /// An offset that is wanted, and waited for no more.
    asked: Option<u64>,
    /// The piece that was sent last, which may be wanted again.
    last: Option<message::Snapshot>,
}

impl<M: StateMachine> Sending<'_, M> {
    /// Sends all that the follower lacks, and returns when the transfer is over, or can't go on.
    fn stream(mut self, source: &mut Source<M::Snapshot>) -> io::Result<Infallible> {
        self.offset()?;
        let question = self.label.piece(self.transfer, 0, Bytes::new(), false);
        self.send(question);
        let begin = self.offset()?;
        self.asked = Some(begin);
        let piece_bytes = self.shell.piece_bytes;
        let hand_on = |offset, data, done| self.hand_on(offset, data, done);
        let mut writer = PieceWriter::new(begin, piece_bytes, hand_on);
        source.write_from(begin, &mut writer)?;
        writer.finish()?;
        loop {
            let offset = self.offset()?;
            self.send_again(offset)?;
        }
    }

    fn hand_on(&mut self, offset: u64, data: Vec<u8>, done: bool) -> io::Result<()> {
        let piece = self
            .label
            .piece(self.transfer, offset, Bytes::from(data), done);
        loop {
            let next = self.offset()?;
            if next == offset {
                break;
            }
            self.send_again(next)?;
        }
        if let Some(at) = self.shell.transfers.pace.turn(piece.data.len()) {
            self.wanted.pause(self.transfer, at)?;
        }
        self.last = Some(piece.clone());
        self.send(piece);
        Ok(())
    }

    fn offset(&mut self) -> io::Result<u64> {
        match self.asked.take() {
            Some(offset) => Ok(offset),
            None => self.wanted.offset(self.transfer),
        }
    }

    fn send_again(&mut self, offset: u64) -> io::Result<()> {
        let last = self.last.clone().filter(|last| last.offset == offset);
        let last = last.ok_or_else(|| io::Error::other("a piece was wanted that is gone"))?;
        self.send(last);
        Ok(())
    }

    fn send(&self, piece: message::Snapshot) {
        let to = self.to;
        let input = Input::SendPiece { to, piece };
        self.shell.complete(Event::core(input));
    }
}

fn failed<M: StateMachine>(shell: &Arc<Shell<M>>, to: ReplicaId, transfer: u64) {
    shell.complete(Event::core(Input::SendFailed { to, transfer }));
}
