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

use crate::message;

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
            fetching: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// The follower has restarted, and forgotten what was on its way.
    pub(crate) fn restart(&mut self, last: u64) {
        *self = Self {
            contact: self.contact,
            ..Self::new(last, 0)
        };
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

    pub(crate) fn may_send(&self, messages_max: usize, bytes_max: usize) -> bool {
        match self.mode {
            Mode::Probe { paused } => !paused,
            Mode::Replicate => {
                self.in_flight.len() < messages_max && self.in_flight_bytes < bytes_max
            }
            Mode::Snapshot(_) => false,
        }
    }

    /// Entries up to `last` went out.
    pub(crate) fn sent(&mut self, last: u64, bytes: usize) {
        match &mut self.mode {
            Mode::Probe { paused } => *paused = true,
            Mode::Replicate | Mode::Snapshot(_) => {
                self.next = last + 1;
                self.in_flight.push_back((last, bytes));
                self.in_flight_bytes += bytes;
            }
        }
    }

    pub(crate) fn matched_up_to(&mut self, index: u64) {
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        if let Mode::Probe { .. } = self.mode {
            self.enter(Mode::Replicate);
        }
        while self
            .in_flight
            .front()
            .is_some_and(|(last, _)| *last <= self.matched)
        {
            self.in_flight_bytes -= self.in_flight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    pub(crate) fn is_transfer(&mut self, number: u64) -> Option<&mut Transfer> {
        match &mut self.mode {
            Mode::Snapshot(transfer) if transfer.number == number => Some(transfer),
            _ => None,
        }
    }
}
