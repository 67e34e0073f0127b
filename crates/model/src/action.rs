//! What can happen.

use little_raft_core::ReplicaId;

use crate::letter::Letter;

/// One thing that happens. Whatever it makes a replica want done is done at once, but for flushes and deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes on to a replica's deadline, and it wakes; the others are late, if theirs has passed too.
    Timeout(ReplicaId),
    /// The same, and the second's clock loses meanwhile all that clocks may.
    TimeoutWhileSlow(ReplicaId, ReplicaId),
    /// The oldest message on a link arrives.
    Deliver(Letter),
    /// The oldest message on a link is held up, and those behind it overtake it.
    HoldUp(Letter),
    /// What was held up arrives after all. If this never happens, it was lost.
    Straggle(Letter),
    /// The oldest message on a link arrives, and a copy of it is held up.
    Duplicate(Letter),
    /// The oldest write that is under way becomes durable, and is reported.
    Flush(ReplicaId),
    /// A replica is killed and starts again; what was not flushed is lost.
    Crash(ReplicaId),
    /// A client proposes a command to whoever believes to lead.
    Propose(ReplicaId),
    /// A client reads at a replica.
    Read(ReplicaId),
    /// A replica saves a snapshot of what it has applied, and its log begins after it.
    Compact(ReplicaId),
    /// Somebody proposes the change of members of this number to whoever believes to lead.
    Change(ReplicaId, usize),
}
