//! What can be asked of a replica, and what must always be true of it.

use alloc::vec;
use core::hash::{Hash, Hasher};

use crate::raft::{Part, Raft};
use crate::{Config, HardState, Membership, Position, ReplicaId, State, message::Ballot};

impl Raft {
    /// How it was configured; the timing is today's.
    pub fn config(&self) -> &Config {
        &self.own.config
    }

    /// The part it plays.
    pub fn state(&self) -> State {
        match &self.part {
            Part::Follower => State::Follower,
            Part::Campaigner(campaign) if campaign.ballot == Ballot::Pre => State::PreCandidate,
            Part::Campaigner(_) => State::Candidate,
            Part::Leader(_) => State::Leader,
        }
    }

    /// Its term, vote and committed index.
    pub fn hard_state(&self) -> HardState {
        self.own.hard
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.own.hard.term
    }

    /// The leader of its term, if known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.own.leader
    }

    /// The membership in force.
    pub fn membership(&self) -> &Membership {
        self.own.members.newest()
    }

    /// The membership in force, once it is committed and no change of it is under way.
    pub fn settled_membership(&self) -> Option<&Membership> {
        let is_committed = self.own.members.newest_index() <= self.own.hard.committed;
        let newest = self.own.members.newest();
        (is_committed && !newest.is_joint()).then_some(newest)
    }

    /// Since when nothing was heard of the group, on the monotonic clock: the time a follower last heard its leader, or
    /// when the requests were sent that a quorum had answered to a leader by its last heartbeat.
    pub fn contact(&self) -> u64 {
        self.own.contact
    }

    /// To where all followers have the log that were in contact within an election timeout; none, unless this replica
    /// leads such.
    pub fn slowest_follower(&self) -> Option<u64> {
        let Part::Leader(leading) = &self.part else {
            return None;
        };
        let reached = leading.progress.values();
        let reached = reached.filter(|peer| peer.is_caught_up(&self.own, 0));
        reached.map(|peer| peer.matched).min()
    }

    /// All up to this index is committed.
    pub fn committed(&self) -> u64 {
        self.own.hard.committed
    }

    /// The state machine has applied all up to this index.
    pub fn applied_index(&self) -> u64 {
        self.own.applied
    }

    /// All up to this index survives a crash.
    pub fn durable(&self) -> u64 {
        self.own.log.durable()
    }

    /// The end of the log.
    pub fn last(&self) -> Position {
        self.own.log.last()
    }

    /// Where the log begins.
    pub fn base(&self) -> Position {
        self.own.log.base()
    }

    /// The term of the entry at `index`, if the log reaches there.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.own.log.term_at(index)
    }

    /// A digest of the whole state but the generator, with times counted from now: equal for states that behave alike.
    /// Drain the outputs first.
    pub fn fingerprint(&self) -> u64 {
        let mut same = self.clone();
        same.count_times_from_now();
        let (own, mut hasher) = (&same.own, Fnv(0xcbf2_9ce4_8422_2325));
        (&same.part, &own.mail, own.hard, &own.log, &own.members).hash(&mut hasher);
        (own.leader, &own.following, &own.reads, &own.forwards).hash(&mut hasher);
        (
            own.contact,
            own.promised_until,
            own.election_at,
            own.beat_at,
        )
            .hash(&mut hasher);
        (&own.disk, own.accepting, own.applied, &own.applying).hash(&mut hasher);
        (&own.borrowing, &own.loans).hash(&mut hasher);
        hasher.finish()
    }

    fn count_times_from_now(&mut self) {
        let now = self.own.now.monotonic;
        let own = &mut self.own;
        let mut times = vec![&mut own.contact, &mut own.promised_until];
        times.extend([&mut own.election_at, &mut own.beat_at]);
        times.extend(&mut own.disk.busy_since);
        times.extend(own.borrowing.lender.iter_mut().map(|it| &mut it.active_at));
        times.extend(own.loans.values_mut().map(|loan| &mut loan.active_at));
        if let Part::Leader(leading) = &mut self.part {
            times.extend(leading.times());
        }
        let times = times.into_iter().filter(|time| **time != u64::MAX);
        times.for_each(|time| *time = time.wrapping_sub(now));
    }

    /// Panics unless everything holds that must hold between two inputs.
    pub fn check_invariants(&self) {
        let (base, last) = (self.own.log.base().index, self.own.log.last().index);
        assert!(
            base <= self.own.hard.committed,
            "the base {base} is not committed"
        );
        assert!(
            self.own.hard.committed <= last,
            "committed beyond the log's end {last}"
        );
        assert!(
            base <= self.own.log.durable() && self.own.log.durable() <= last,
            "durable in the log"
        );
        assert!(
            self.own.applied <= self.own.hard.committed,
            "applied what is not committed"
        );
        if let Part::Leader(leading) = &self.part {
            assert_eq!(
                self.own.leader,
                Some(self.own.config.id),
                "a leader knows itself"
            );
            assert!(self.own.loans.is_empty(), "a leader lends nothing");
            for (id, progress) in &leading.progress {
                assert!(
                    progress.matched < progress.next,
                    "next of {id} passed matched"
                );
                assert!(progress.matched <= last, "{id} matched what was never sent");
            }
        }
    }
}

/// FNV-1a: the same on every machine.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
