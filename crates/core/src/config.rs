//! What a replica is told when it is made.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{Identity, ReplicaId, Timing};

/// Who a replica is, and its limits. [`Config::new`] has sound defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster.
    pub cluster: u64,
    /// The group within it.
    pub group: u64,
    /// This replica.
    pub id: ReplicaId,
    /// Its data directory.
    pub incarnation: u64,
    /// Which start this is; greater than at any earlier one.
    pub boot: u64,
    /// Heartbeat and election timeouts.
    pub timing: Timing,
    /// It is a witness: it has no state machine, installs and applies nothing, never leads, and can't be asked anything.
    /// The membership must say the same of it.
    pub witness: bool,
    /// From whom it would rather have a snapshot than from the leader, in this order.
    pub nearest: Vec<ReplicaId>,
    /// Serve reads by promises instead of rounds. The same on every replica; off unless all clocks are trusted.
    pub leases: Option<Leases>,
    /// Any number; id and boot are mixed in, so that replicas don't draw the same timeouts.
    pub seed: u64,
    /// No message has more bytes of entries than this, unless one entry alone is larger.
    pub message_bytes_max: usize,
    /// So many bytes of entries may be on their way to a follower.
    pub in_flight_bytes_max: usize,
    /// So many messages with entries may be on their way to a follower. Few, so that what is proposed meanwhile
    /// leaves together in the next one.
    pub in_flight_messages_max: usize,
    /// A leader refuses proposals while so many bytes of entries are not committed.
    pub uncommitted_bytes_max: usize,
    /// So many bytes of the newest entries are kept in memory.
    pub cache_bytes_max: usize,
    /// So many bytes of entries are handed over to be applied at once.
    pub apply_bytes_max: usize,
}

impl Config {
    /// The defaults for a replica of `group`.
    pub fn new(identity: &Identity, group: u64) -> Self {
        Self {
            cluster: identity.cluster,
            group,
            id: identity.replica,
            incarnation: identity.incarnation,
            boot: identity.boot,
            timing: Timing::default(),
            witness: false,
            nearest: Vec::new(),
            leases: None,
            seed: identity.incarnation,
            message_bytes_max: 256 << 10,
            in_flight_bytes_max: 4 << 20,
            in_flight_messages_max: 8,
            uncommitted_bytes_max: 64 << 20,
            cache_bytes_max: 32 << 20,
            apply_bytes_max: 4 << 20,
        }
    }
}

/// How far promises reach (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    /// No promise is longer, whatever the election timeout; a voter that starts helps no candidate for so long, since
    /// it may have promised that before.
    pub longest: Duration,
    /// By so much two clocks may differ after that time. A leader trusts promises for so much less.
    pub drift: Duration,
}

/// A configuration that can't work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Heartbeats must be shorter than elections by half at least, and last some time.
    Timing(Timing),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Timing(Timing {
            heartbeat,
            election,
        }) = self;
        write!(
            f,
            "heartbeat {heartbeat:?} with election timeout {election:?}: the heartbeat must be longer than zero, \
             the election timeout at least twice as long, and at most an hour"
        )
    }
}

impl core::error::Error for ConfigError {}

impl Timing {
    /// Whether these timeouts can work together.
    ///
    /// # Errors
    /// If the heartbeat is zero, or the election timeout is less than two heartbeats or more than an hour.
    pub fn check(&self) -> Result<(), ConfigError> {
        let heartbeats = self.heartbeat.checked_mul(2);
        let in_order = heartbeats.is_some_and(|two| two <= self.election);
        if self.heartbeat.is_zero() || !in_order || self.election > Duration::from_secs(3600) {
            return Err(ConfigError::Timing(*self));
        }
        Ok(())
    }

    pub(crate) fn heartbeat_nanos(&self) -> u64 {
        nanos(self.heartbeat)
    }

    pub(crate) fn election_nanos(&self) -> u64 {
        nanos(self.election)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
