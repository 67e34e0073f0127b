//! Who belongs, and how that changes (Raft, section 6; thesis, chapter 4), from any set of voters to any other.
//!
//! ```text
//!   stable --- a change of voters ---> joint --- committed ---> stable
//!      ^                               (majorities of both halves decide)
//!      +--- any other change
//! ```
//!
//! Upholds rule 5: a membership counts from the moment it is in the log, and there is one change at a time.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::message::Body;
use crate::plant::planted;
use crate::progress::Progress;
use crate::raft::Own;
use crate::replication::Leading;
use crate::types::PLAUSIBLE_MAX;
use crate::{
    Change, ChangeError, Codec, Entry, EntryKind, Event, Member, Membership, Position, ReplicaId,
    Role, Timing,
};

impl Membership {
    /// The membership of a new group whose founders are these.
    pub fn founders(members: impl IntoIterator<Item = Member>) -> Self {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by_key(|member| member.id);
        Self {
            version: 1,
            members,
            timing: None,
        }
    }

    /// The member called `id`.
    pub fn member(&self, id: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether `id` votes, in either half.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters().any(|voter| voter == id)
    }

    /// Those who vote, in either half.
    pub fn voters(&self) -> impl Iterator<Item = ReplicaId> {
        let votes = |role: Option<Role>| role == Some(Role::Voter);
        let voters = self.members.iter();
        let voters = voters.filter(move |it| votes(it.role) || votes(it.next_role));
        voters.map(|member| member.id)
    }

    /// Whether a change is under way, so that majorities of both halves decide.
    pub fn is_joint(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.role != member.next_role)
    }

    /// What these changes make of it: joint, if they change who votes.
    ///
    /// # Errors
    /// If they can't be made, or would leave no voter that can lead. Nothing is changed then, also by those before.
    pub fn changed(&self, changes: &[Change]) -> Result<Self, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::UnderWay);
        }
        let mut next = self.clone();
        changes.iter().try_for_each(|change| next.change(change))?;
        let could_lead = |it: &Member| it.next_role == Some(Role::Voter) && !it.witness;
        if !next.members.iter().any(could_lead) {
            return Err(ChangeError::NoVoters);
        }
        next.version += 1;
        next.members.sort_by_key(|member| member.id);
        let voters_stay = next.members.iter().all(|it| !it.votes_differently());
        Ok(if voters_stay { next.complete() } else { next })
    }

    fn change(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Add {
                id,
                address,
                role,
                priority,
                witness,
            } => {
                return self.add(
                    *role,
                    Member {
                        priority: *priority,
                        witness: *witness,
                        ..Member::voter(*id, address)
                    },
                );
            }
            Change::Remove(id) => self.find(*id)?.next_role = None,
            Change::SetRole(id, role) => {
                let member = self.find(*id)?;
                member.next_role = Some(*role);
                member.promote_when_caught_up = false;
            }
            Change::SetAddress(id, address) => {
                self.refuse_used(*id, address)?;
                self.find(*id)?.address.clone_from(address);
            }
            Change::SetPriority(id, priority) => {
                self.find(*id)?.priority = *priority;
                self.refuse_witness(*id)?;
            }
            Change::Bind(id, incarnation) => self.find(*id)?.incarnation = Some(*incarnation),
            Change::SetTiming(timing) => {
                timing.check().map_err(|_| ChangeError::Timing(*timing))?;
                self.timing = Some(*timing);
            }
        }
        Ok(())
    }

    /// Who is to vote joins as a learner, and is promoted once it has caught up.
    fn add(&mut self, role: Role, member: Member) -> Result<(), ChangeError> {
        let id = member.id;
        if self.member(id).is_some() {
            return Err(ChangeError::Known(id));
        }
        self.refuse_used(id, &member.address)?;
        self.members.push(Member {
            role: None,
            next_role: Some(Role::Learner),
            promote_when_caught_up: role == Role::Voter,
            ..member
        });
        self.refuse_witness(id)
    }

    fn refuse_used(&self, id: ReplicaId, address: &str) -> Result<(), ChangeError> {
        let by = self
            .members
            .iter()
            .find(|it| it.id != id && it.address == address);
        match by {
            Some(by) => Err(ChangeError::AddressInUse {
                address: address.into(),
                by: by.id,
            }),
            None => Ok(()),
        }
    }

    fn find(&mut self, id: ReplicaId) -> Result<&mut Member, ChangeError> {
        let found = self.members.iter_mut().find(|member| member.id == id);
        found.ok_or(ChangeError::Unknown(id))
    }

    /// The change under way is complete: each has the part it was to have.
    fn complete(mut self) -> Self {
        self.members.retain(|member| member.next_role.is_some());
        self.members
            .iter_mut()
            .for_each(|member| member.role = member.next_role);
        self
    }

    /// Whether a group can get that far.
    pub(crate) fn is_plausible(&self) -> bool {
        self.version < PLAUSIBLE_MAX
    }

    /// The membership that ends a joint one.
    pub(crate) fn left_joint(&self) -> Self {
        let version = self.version + 1;
        Self {
            version,
            ..self.clone()
        }
        .complete()
    }
}

impl Member {
    fn votes_differently(&self) -> bool {
        (self.role == Some(Role::Voter)) != (self.next_role == Some(Role::Voter))
    }
}

/// The memberships in the log, above that at its base.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Memberships {
    /// In rising order of their indices. Invariant: never empty; the first is the one in force at the base.
    stack: Vec<(u64, Membership)>,
    #[cfg(feature = "plants")]
    applied: u64,
}

impl Memberships {
    pub(crate) fn new(base: u64, membership: Membership) -> Self {
        let stack = [(base, membership)].into();
        Self {
            stack,
            #[cfg(feature = "plants")]
            applied: base,
        }
    }

    #[cfg(feature = "plants")]
    pub(crate) fn applied(&mut self, index: u64) {
        self.applied = index;
    }

    /// The membership in force: the newest in the log (rule 5).
    pub(crate) fn newest(&self) -> &Membership {
        &self.in_force().1
    }

    pub(crate) fn newest_index(&self) -> u64 {
        self.in_force().0
    }

    fn in_force(&self) -> &(u64, Membership) {
        #[cfg(feature = "plants")]
        if planted!(P30) {
            let below = self.stack.partition_point(|(at, _)| *at <= self.applied);
            return &self.stack[below.max(1) - 1];
        }
        &self.stack[self.stack.len() - 1]
    }

    /// The one in force at `index`.
    pub(crate) fn at(&self, index: u64) -> &Membership {
        let below = self.stack.partition_point(|(at, _)| *at <= index);
        &self.stack[below.max(1) - 1].1
    }

    pub(crate) fn append(&mut self, index: u64, membership: Membership) {
        self.stack.push((index, membership));
    }

    /// The log was cut from `index` on: what stood there is in force no more.
    pub(crate) fn truncate(&mut self, index: u64) {
        self.stack.retain(|(at, _)| *at < index);
        assert!(
            !self.stack.is_empty(),
            "the membership at the base is never cut off"
        );
    }

    /// The log begins after `base`, and keeps what follows it, or nothing.
    pub(crate) fn begin_at(&mut self, base: u64, membership: &Membership, keeps: bool) {
        self.stack.retain(|(at, _)| keeps && *at > base);
        self.stack.insert(0, (base, membership.clone()));
    }
}

impl Leading {
    /// Appends what these changes make of the membership.
    pub(crate) fn change(
        &mut self,
        own: &mut Own,
        changes: Bytes,
    ) -> Result<Position, ChangeError> {
        let changes = Vec::<Change>::from_bytes(changes).or(Err(ChangeError::Unreadable))?;
        for change in &changes {
            if let &Change::SetRole(id, Role::Voter) = change {
                self.refuse_laggard(own, id)?;
            }
        }
        self.make(own, &changes)
    }

    /// Rule 5: one change at a time, and none before an entry of our own term is committed (Ongaro, raft-dev, 2015).
    fn make(&mut self, own: &mut Own, changes: &[Change]) -> Result<Position, ChangeError> {
        let began_at = planted!(P29, 0, self.began_at);
        if own.hard.committed < began_at.max(own.members.newest_index()) {
            return Err(ChangeError::UnderWay);
        }
        let next = own.members.newest().changed(changes)?;
        let is_there = |id| {
            self.progress
                .get(&id)
                .is_some_and(|it| it.is_caught_up(own, 0))
        };
        let is_there = |id| id == own.config.id || is_there(id);
        // Or the joint membership could never be left.
        if next.is_joint() && !next.left_joint().has_quorum(is_there) {
            return Err(ChangeError::NoQuorum);
        }
        if next.is_joint() && !self.keeps_a_successor(own, &next.left_joint()) {
            return Err(ChangeError::NobodyToLead);
        }
        Ok(self.enter_membership(own, &next))
    }

    fn refuse_laggard(&self, own: &Own, id: ReplicaId) -> Result<(), ChangeError> {
        let lags = |peer: &&Progress| !peer.is_caught_up(own, self.last_at_beat);
        match self.progress.get(&id).filter(lags) {
            Some(peer) => Err(ChangeError::Lags(id, own.log.last().index - peer.matched)),
            None => Ok(()),
        }
    }

    /// It counts at once; what it decides is looked at again.
    fn enter_membership(&mut self, own: &mut Own, next: &Membership) -> Position {
        let (last, now) = (own.log.last().index, own.now.monotonic);
        let payload = next.to_bytes();
        let position = self.append(own, EntryKind::Membership, crc32c(&payload), payload);
        for member in next.members.iter().filter(|it| it.id != own.config.id) {
            self.progress
                .entry(member.id)
                .or_insert_with(|| Progress::new(last, now));
        }
        for (&id, gone) in self
            .progress
            .iter_mut()
            .filter(|(id, _)| next.member(**id).is_none())
        {
            gone.end_transfer(id, &mut own.out);
        }
        self.progress.retain(|id, _| next.member(*id).is_some());
        // Who comes back under the same name counts its proposals anew.
        self.origins.retain(|id, _| next.member(*id).is_some());
        if !planted!(P27) {
            self.commit(own);
            self.serve_confirmed_reads(own);
        }
        position
    }

    /// Leaves a joint membership once it is committed, and hands over once one without us is.
    pub(crate) fn go_on_changing(&mut self, own: &mut Own) {
        if own.hard.committed < own.members.newest_index() {
            return;
        }
        if own.members.newest().is_joint() {
            let next = own.members.newest().left_joint();
            self.enter_membership(own, &next);
        } else if !own.members.newest().is_voter(own.config.id) && self.handover.is_none() {
            self.hand_over(own, None);
        }
    }

    /// What a leader changes by itself, every heartbeat: data directories that it has come to know are bound to their
    /// members (rule 13), and who has durably all that the log held a heartbeat ago has caught up and is promoted.
    pub(crate) fn tend_members(&mut self, own: &mut Own) {
        let mut changes = Vec::new();
        for member in &own.members.newest().members {
            let unbound = own
                .incarnation_of(member.id)
                .filter(|_| member.incarnation.is_none());
            changes.extend(unbound.map(|incarnation| Change::Bind(member.id, incarnation)));
            let is_ready = |peer: &Progress| peer.is_caught_up(own, self.last_at_beat);
            if member.promote_when_caught_up && self.progress.get(&member.id).is_some_and(is_ready)
            {
                changes.push(Change::SetRole(member.id, Role::Voter));
            }
        }
        if !changes.is_empty() {
            // If a change is under way, the next heartbeat tries again.
            let _ = self.make(own, &changes);
        }
        self.give_back(own);
        self.last_at_beat = own.log.last().index;
    }

    /// Hands over to a voter of a higher priority that has caught up; if that fails, not again at once.
    fn give_back(&mut self, own: &mut Own) {
        let members = own.members.newest();
        let ours = members.member(own.config.id).map_or(0, |it| it.priority);
        let is_ready = |id: ReplicaId| {
            let peer = self.progress.get(&id);
            members.may_lead(id) && peer.is_some_and(|it| it.is_caught_up(own, self.last_at_beat))
        };
        let better = members
            .members
            .iter()
            .filter(|it| it.priority > ours && is_ready(it.id));
        let best = better.max_by_key(|it| it.priority).map(|it| it.id);
        if best.is_some() && self.handover.is_none() && own.now.monotonic >= self.give_back_at {
            self.give_back_at = own.now.monotonic + 10 * own.config.timing.election_nanos();
            self.hand_over(own, best);
        }
    }
}

impl Progress {
    pub(crate) fn is_caught_up(&self, own: &Own, last: u64) -> bool {
        let silence = own.now.monotonic.saturating_sub(self.contact);
        self.matched >= last && silence < own.config.timing.election_nanos()
    }
}

impl Own {
    fn incarnation_of(&self, id: ReplicaId) -> Option<u64> {
        match id == self.config.id {
            true => Some(self.config.incarnation),
            false => self.mail.incarnation_of(id),
        }
    }

    /// An entry is in the log; a membership counts from here on.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.append_membership(&entry);
        self.log.append(entry);
    }

    pub(crate) fn append_run(&mut self, run: Arc<[Entry]>) {
        let memberships = run.iter().filter(|it| it.kind == EntryKind::Membership);
        memberships.for_each(|entry| self.append_membership(entry));
        self.log.append_run(run);
    }

    pub(crate) fn append_membership(&mut self, entry: &Entry) {
        if let Some(membership) = entry.membership() {
            self.meet(&membership);
            self.members.append(entry.position.index, membership);
        }
    }

    /// A membership is about to be in force: it says whose directories are whose, and what timing all have agreed on, if
    /// it is another than before. What a replica alone is told later goes before that.
    pub(crate) fn meet(&mut self, membership: &Membership) {
        self.mail.know(membership);
        self.see_misfit(membership);
        let is_news = membership.timing != self.members.newest().timing;
        // Nonsense is never appended by a correct leader; it may still be heard.
        let usable = |timing: &Timing| is_news && timing.check().is_ok();
        if let Some(timing) = membership.timing.filter(usable) {
            self.config.timing = timing;
        }
    }

    /// Looks whether our membership has ended: it is committed that we are none of the group.
    pub(crate) fn see_removal(&mut self) {
        let (newest, index) = (self.members.newest(), self.members.newest_index());
        let is_member = newest.member(self.config.id).is_some();
        self.belongs |= is_member;
        if self.belongs && !is_member && index <= self.hard.committed {
            self.removed(newest.version);
        }
    }

    /// A member says that we are none since this version.
    pub(crate) fn told_of_removal(&mut self, version: u64) {
        if version > self.members.newest().version {
            self.removed(version);
        }
    }

    fn removed(&mut self, version: u64) {
        if version > self.removed_in {
            self.removed_in = version;
            self.out.events.push(Event::Removed);
        }
    }

    /// Who asks to be elected and is no member is told so, if that is certain. It knows whether it was added since.
    pub(crate) fn tell_of_removal(&mut self, to: ReplicaId) {
        let (newest, index) = (self.members.newest(), self.members.newest_index());
        if self.belongs && newest.member(to).is_none() && index <= self.hard.committed {
            let version = newest.version;
            self.send(to, Body::Removed(version));
        }
    }
}

/// CRC-32C, bit by bit: memberships are few and short.
fn crc32c(payload: &[u8]) -> u32 {
    let shift = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let step = |crc, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc));
    !payload.iter().fold(!0, step)
}

impl Entry {
    /// What a membership entry says; none for other entries, or if it can't be read or can't be.
    #[inline]
    pub fn membership(&self) -> Option<Membership> {
        if self.kind != EntryKind::Membership {
            return None;
        }
        let membership = Membership::from_bytes(self.payload.clone()).ok();
        membership.filter(Membership::is_plausible)
    }
}
