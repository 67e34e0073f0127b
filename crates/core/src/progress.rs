//! What a leader knows of one follower.
//!
//! ```text
//!           rejected, unreachable, restarted
//!         +----------------------------------+
//!         v                                  |
//!      Probe ------- matched ----------> Replicate
//!       |  ^
//!       |  | installed, refused, timed out
//!       v  |
//!     Snapshot    (what it needs is no longer in the log)
//! ```

use alloc::collections::VecDeque;

use crate::{Config, TransferEnd, message};

#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    /// The follower's log equals ours, durably, up to here. Only rises within a term.
    pub(crate) matched: u64,
    /// The next entry to send. Invariant: `matched < next`.
    pub(crate) next: u64,
    pub(crate) mode: Mode,
    /// When the newest request that it answered was sent (rule 6).
    pub(crate) contact: u64,
    /// The newest read round that it confirmed (rule 8).
    pub(crate) round: u64,
    /// Until then it helps no other candidate, by our clock (rule 8).
    pub(crate) lease: u64,
    /// A proposal of its own hangs on this index: it waits to hear that it is committed.
    pub(crate) awaits: u64,
    /// The newest committed index it was told.
    pub(crate) told: u64,
    /// Up to here a witness is told to keep no payloads: full replicas have them.
    pub(crate) settled: u64,
    /// The first entry that is being fetched from storage for it.
    pub(crate) fetching: Option<u64>,
    /// Messages with entries on their way: the last index in each, and its bytes.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Mode {
    /// Where the logs part is not known: one message at a time.
    Probe {
        /// Something was sent, and nothing came back yet.
        paused: bool,
    },
    /// Messages go out without waiting for replies.
    Replicate,
    /// It receives a snapshot.
    Snapshot(Transfer),
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Transfer {
    pub(crate) number: u64,
    /// When it was last heard that it goes on.
    pub(crate) active_at: u64,
    /// What it would come to if it ended now.
    pub(crate) end: TransferEnd,
    /// The receiver has said how much of it it has from transfers before.
    pub(crate) is_open: bool,
    /// The piece under way, sent again while no answer comes.
    pub(crate) piece: Option<message::Snapshot>,
}

impl Progress {
    pub(crate) fn new(last: u64, now: u64) -> Self {
        Self {
            matched: 0,
            next: last + 1,
            mode: Mode::Probe { paused: false },
            contact: now,
            round: 0,
            lease: now,
            awaits: 0,
            told: 0,
            settled: 0,
            fetching: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut u64> {
        let active = match &mut self.mode {
            Mode::Snapshot(transfer) => Some(&mut transfer.active_at),
            Mode::Probe { .. } | Mode::Replicate => None,
        };
        [&mut self.contact, &mut self.lease]
            .into_iter()
            .chain(active)
    }

    /// Every change of mode empties the window, so that nothing lost keeps a place in it.
    pub(crate) fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.fetching = None;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    pub(crate) fn probe_from(&mut self, next: u64) {
        self.next = next.max(self.matched + 1);
        self.enter(Mode::Probe { paused: false });
    }

    /// Whether it may still have something before it that takes long to arrive.
    pub(crate) fn is_busy(&self) -> bool {
        match self.mode {
            Mode::Probe { paused } => paused,
            Mode::Replicate => self.matched + 1 < self.next,
            Mode::Snapshot(_) => true,
        }
    }

    pub(crate) fn may_send(&self, config: &Config) -> bool {
        match self.mode {
            Mode::Probe { paused } => !paused,
            Mode::Replicate => {
                self.in_flight.len() < config.in_flight_messages_max
                    && self.in_flight_bytes < config.in_flight_bytes_max
            }
            Mode::Snapshot(_) => false,
        }
    }

    /// Entries up to `last` went out.
    pub(crate) fn sent(&mut self, last: u64, bytes: usize) {
        if let Mode::Probe { paused } = &mut self.mode {
            *paused = true;
            return;
        }
        self.next = last + 1;
        self.in_flight.push_back((last, bytes));
        self.in_flight_bytes += bytes;
    }

    pub(crate) fn matched_up_to(&mut self, index: u64) {
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        if let Mode::Probe { .. } = self.mode {
            self.enter(Mode::Replicate);
        }
        let arrived = self
            .in_flight
            .iter()
            .take_while(|sent| sent.0 <= self.matched)
            .count();
        let freed = self.in_flight.drain(..arrived);
        self.in_flight_bytes -= freed.map(|(_, bytes)| bytes).sum::<usize>();
    }

    /// The snapshot transfer of this number, if it is the one under way.
    pub(crate) fn transfer(&mut self, number: u64) -> Option<&mut Transfer> {
        match &mut self.mode {
            Mode::Snapshot(transfer) if transfer.number == number => Some(transfer),
            _ => None,
        }
    }
}
