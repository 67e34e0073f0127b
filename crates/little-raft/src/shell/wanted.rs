//! What a follower wants of a snapshot that is sent to it: asked by the core, waited for by the thread that sends.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use little_raft_core::{Position, SendPiece, SendSnapshot, Sent, TransferEnd};

/// For how long what was sent to a follower is kept after its transfer broke off.
const RESUMABLE: Duration = Duration::from_secs(60);

/// What one follower wants.
#[derive(Default)]
pub(super) struct Wanted {
    state: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    /// The transfer that goes on.
    transfer: Option<u64>,
    /// Where the piece begins that it wants.
    offset: Option<u64>,
    /// What is sent, once it is known.
    source: Option<Position>,
    /// No further transfer can go on with it.
    is_over: bool,
    /// It could not be sent, or not be used.
    is_useless: bool,
}

impl Asked {
    fn begin(&mut self, transfer: u64) {
        self.transfer = Some(transfer);
        // The first piece is wanted from the start.
        self.offset = Some(0);
    }
}

impl Wanted {
    /// The first transfer begins.
    pub(super) fn begin(transfer: u64) -> Self {
        let wanted = Self::default();
        wanted.lock().begin(transfer);
        wanted
    }

    /// Whether what was found for this transfer is what it still waits for, or the next can go on with.
    pub(super) fn takes(&self, transfer: u64, source: Position) -> bool {
        let mut asked = self.lock();
        let takes = asked.source.is_none() && asked.transfer.is_none_or(|it| it == transfer);
        if takes {
            asked.source = Some(source);
        }
        takes && !asked.is_over
    }

    /// Whether the transfer can go on with what is here.
    pub(super) fn resume(&self, send: SendSnapshot) -> bool {
        let mut asked = self.lock();
        let reaches = asked.source.is_some_and(|at| at.index >= send.index_min);
        let resumes = reaches && !asked.is_over;
        if resumes {
            asked.begin(send.transfer);
            self.changed.notify_one();
        }
        resumes
    }

    pub(super) fn want(&self, piece: SendPiece) {
        let mut asked = self.lock();
        if asked.transfer == Some(piece.transfer) {
            asked.offset = Some(piece.offset);
            self.changed.notify_one();
        }
    }

    /// A transfer is over. If it broke off, the next can go on with what was sent.
    pub(super) fn sent(&self, sent: Sent) {
        let mut asked = self.lock();
        if asked.transfer == Some(sent.transfer) {
            asked.transfer = None;
            asked.is_over |= sent.end != TransferEnd::BrokenOff;
            asked.is_useless |= sent.end == TransferEnd::Refused;
            self.changed.notify_one();
        }
    }

    /// No transfer goes on with it any more. What was sent, if it did not do.
    pub(super) fn end(&self) -> Option<Position> {
        let mut asked = self.lock();
        asked.is_over = true;
        self.changed.notify_one();
        asked.source.filter(|_| asked.is_useless)
    }

    /// What is sent can't be, unless the transfer has only broken off: true, if it goes on.
    pub(super) fn fail(&self, transfer: u64) -> bool {
        let mut asked = self.lock();
        let goes_on = asked.transfer == Some(transfer) && !asked.is_over;
        if goes_on {
            (asked.is_over, asked.is_useless) = (true, true);
        }
        goes_on
    }

    /// Waits for the offset that is wanted next.
    pub(super) fn offset(&self, transfer: u64) -> io::Result<u64> {
        let offset = self.wait(transfer, None, |asked| asked.offset.take());
        offset.ok_or_else(|| io::Error::other("the transfer is over"))
    }

    /// Waits until then.
    pub(super) fn pause(&self, transfer: u64, until: Instant) -> io::Result<()> {
        let is_time = |_: &mut Asked| (Instant::now() >= until).then_some(());
        let paused = self.wait(transfer, Some(until), is_time);
        paused.ok_or_else(|| io::Error::other("the transfer is over"))
    }

    /// Waits while the transfer goes on, until `ready` gives something.
    fn wait<T>(
        &self,
        transfer: u64,
        until: Option<Instant>,
        mut ready: impl FnMut(&mut Asked) -> Option<T>,
    ) -> Option<T> {
        let mut asked = self.lock();
        loop {
            if asked.is_over || asked.transfer != Some(transfer) {
                return None;
            }
            if let Some(ready) = ready(&mut asked) {
                return Some(ready);
            }
            asked = self.sleep(asked, until);
        }
    }

    /// The transfer that goes on with what was sent; `None` if there was none for too long.
    pub(super) fn next(&self) -> Option<u64> {
        let until = Instant::now() + RESUMABLE;
        let mut asked = self.lock();
        while asked.transfer.is_none() && !asked.is_over && Instant::now() < until {
            asked = self.sleep(asked, Some(until));
        }
        asked.is_over |= asked.transfer.is_none();
        asked.transfer.filter(|_| !asked.is_over)
    }

    fn sleep<'a>(
        &self,
        asked: MutexGuard<'a, Asked>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Asked> {
        let Some(until) = until else {
            let waited = self.changed.wait(asked);
            return waited.unwrap_or_else(PoisonError::into_inner);
        };
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout(asked, left);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
