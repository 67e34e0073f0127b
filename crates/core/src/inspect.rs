//! What can be asked of a replica, and what must always be true of it.

use core::hash::{Hash, Hasher};

use crate::raft::{Part, Raft};
use crate::{Config, Entry, HardState, Membership, Position, ReplicaId, State, message::Ballot};

impl Raft {
    /// How it was configured; the timing is today's.
    pub fn config(&self) -> &Config {
        &self.config
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
        self.hard
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.hard.term
    }

    /// The leader of its term, if known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// The membership in force.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// All up to this index is committed.
    pub fn committed(&self) -> u64 {
        self.hard.committed
    }

    /// The state machine has applied all up to this index.
    pub fn applied_index(&self) -> u64 {
        self.applied
    }

    /// All up to this index survives a crash.
    pub fn durable(&self) -> u64 {
        self.log.durable()
    }

    /// The end of the log.
    pub fn last(&self) -> Position {
        self.log.last()
    }

    /// Where the log begins.
    pub fn base(&self) -> Position {
        self.log.base()
    }

    /// The term of the entry at `index`, if the log reaches there.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.log.term_at(index)
    }

    /// The entries from `first` on that are still in memory; `None` if the first is not.
    pub fn cached(&self, first: u64) -> Option<alloc::vec::Vec<Entry>> {
        self.log.cached(first, self.log.last().index, usize::MAX)
    }

    /// A digest of the whole state but the generator, with times counted from now: equal for states that behave alike.
    /// Drain the outputs first.
    pub fn fingerprint(&self) -> u64 {
        let mut same = self.clone();
        same.count_times_from_now();
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        (
            &same.mail,
            &same.hard,
            &same.log,
            &same.membership,
            &same.part,
        )
            .hash(&mut hasher);
        (&same.leader, &same.following, &same.reads, &same.forwards).hash(&mut hasher);
        (same.contact, same.election_at, same.beat_at).hash(&mut hasher);
        (&same.disk, same.accepting, same.applied, &same.applying).hash(&mut hasher);
        hasher.finish()
    }

    fn count_times_from_now(&mut self) {
        let now = self.now.monotonic;
        let past = |time: &mut u64| *time = now.saturating_sub(*time);
        let future = |time: &mut u64| *time = time.saturating_sub(now);
        past(&mut self.contact);
        future(&mut self.election_at);
        future(&mut self.beat_at);
        self.disk.busy_since.as_mut().map(past);
        if let Part::Leader(leading) = &mut self.part {
            leading.times(past, future);
        }
    }

    /// Panics unless everything holds that must hold between two inputs.
    pub fn check_invariants(&self) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        assert!(
            base <= self.hard.committed,
            "the base {base} is not committed"
        );
        assert!(
            self.hard.committed <= last,
            "committed beyond the log's end {last}"
        );
        assert!(
            base <= self.log.durable() && self.log.durable() <= last,
            "durable in the log"
        );
        assert!(
            self.applied <= self.hard.committed,
            "applied what is not committed"
        );
        if let Part::Leader(leading) = &self.part {
            assert_eq!(self.leader, Some(self.config.id), "a leader knows itself");
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
