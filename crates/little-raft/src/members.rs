//! How a group's members are changed.

use std::time::Duration;

use little_raft_core::{Change, ReplicaId, Role, Timing};

/// Changes of a group's members, made all together or not at all; see
/// [`Replica::change_members`](crate::Replica::change_members).
///
/// ```
/// use little_raft::MemberChange;
///
/// let one_for_another = MemberChange::new().add(4, "10.0.0.4:7001").remove(2).expecting(7);
/// # let _ = one_for_another;
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing changes before it is given to a replica"]
pub struct MemberChange {
    pub(crate) changes: Vec<Change>,
    pub(crate) expecting: Option<u64>,
    pub(crate) within: Duration,
    pub(crate) awaits_voters: bool,
}

impl Default for MemberChange {
    fn default() -> Self {
        Self::new()
    }
}

impl MemberChange {
    /// No change yet, within a minute.
    pub fn new() -> Self {
        Self {
            changes: Vec::new(),
            expecting: None,
            within: Duration::from_secs(60),
            awaits_voters: true,
        }
    }

    /// `id` joins, reached at `address`: as a learner first, and as a voter as soon as it has caught up. The change
    /// ends then. If its time is over before, it fails and says so; the member stays a learner that is promoted once
    /// it has caught up, unless it is removed.
    ///
    /// Give it an id that was never used before, and start it with [`Builder::join`](crate::Builder::join).
    pub fn add(self, id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        self.join(id, address, Role::Voter, false)
    }

    /// `id` joins as a learner: it receives the log, and never votes.
    pub fn add_learner(self, id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        self.join(id, address, Role::Learner, false)
    }

    /// `id` joins as a [witness](crate::Witness), and votes as soon as it has caught up, as with [`add`](Self::add).
    pub fn add_witness(self, id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        self.join(id, address, Role::Voter, true)
    }

    /// `id` leaves. A leader that is removed hands over first; whoever is removed stops.
    pub fn remove(self, id: impl Into<ReplicaId>) -> Self {
        self.with(Change::Remove(id.into()))
    }

    /// `id` votes from now on; refused if it has not caught up.
    pub fn promote(self, id: impl Into<ReplicaId>) -> Self {
        self.with(Change::SetRole(id.into(), Role::Voter))
    }

    /// `id` votes no more, and learns on.
    pub fn demote(self, id: impl Into<ReplicaId>) -> Self {
        self.with(Change::SetRole(id.into(), Role::Learner))
    }

    /// `id` is reached at `address` from now on.
    pub fn set_address(self, id: impl Into<ReplicaId>, address: impl Into<String>) -> Self {
        self.with(Change::SetAddress(id.into(), address.into()))
    }

    /// Leadership goes to the voter of the highest priority that has caught up; all begin with 0.
    pub fn set_priority(self, id: impl Into<ReplicaId>, priority: u32) -> Self {
        self.with(Change::SetPriority(id.into(), priority))
    }

    /// All replicas use these timeouts from now on, also those that are added later.
    pub fn set_timing(self, timing: Timing) -> Self {
        self.with(Change::SetTiming(timing))
    }

    /// Only if the membership still has this version; [`Status`](crate::Status) tells it.
    pub fn expecting(mut self, version: u64) -> Self {
        self.expecting = Some(version);
        self
    }

    /// How long it may take; default: a minute.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Ends as soon as it is committed and complete, without waiting for those who are to become voters: for who starts
    /// them only afterwards.
    pub fn once_committed(mut self) -> Self {
        self.awaits_voters = false;
        self
    }

    fn join(
        self,
        id: impl Into<ReplicaId>,
        address: impl Into<String>,
        role: Role,
        witness: bool,
    ) -> Self {
        let (id, address) = (id.into(), address.into());
        self.with(Change::Add {
            id,
            address,
            role,
            priority: 0,
            witness,
        })
    }

    fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}
