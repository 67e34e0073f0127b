//! What a follower does with a leader's entries, and what it may acknowledge (Raft, section 5.3).
//!
//! Upholds rule 1 (acknowledged is durable).

use alloc::sync::Arc;

use crate::config::nanos;
use crate::message::{Append, AppendOutcome, AppendReply, Body, Heartbeat, Stamp};
use crate::plant::planted;
use crate::raft::Own;
use crate::{Entry, EntryKind, Position, ReplicaId};

/// What the leader of this term has proved to us, and what we owe it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Following {
    /// The newest request's stamp.
    newest: Stamp,
    /// Our log equals the leader's up to here.
    pub(crate) verified: u64,
    /// The leader has committed all up to here.
    committed: u64,
    /// The greatest index acknowledged so far.
    acknowledged: u64,
    /// An answer is due, even if there is no more to acknowledge than before.
    owed: bool,
    /// A heartbeat was heard and not answered.
    heard: bool,
}

impl Own {
    /// AppendEntries, receiver (Raft, figure 2). The term is ours.
    pub(crate) fn append_arrived(&mut self, from: ReplicaId, append: Append) {
        if !is_well_formed(append.prev, &append.entries, self.hard.term) {
            return;
        }
        let Position { index: prev, .. } = append.prev;
        // What is committed equals the leader's log, whatever is left of it here (leader completeness).
        let is_compacted = planted!(P17) && prev < self.log.base().index;
        if is_compacted || prev > self.hard.committed && !self.log.contains(append.prev) {
            let hint = self.log.floor(append.prev);
            return self.reply(
                from,
                append.stamp,
                0,
                AppendOutcome::Rejected { prev, hint },
            );
        }
        let brings_nothing = append.entries.is_empty();
        let before = self.log.last();
        let end = self.take_entries(prev, append.entries);
        if planted!(P65) && before == self.log.last() {
            self.reply(from, append.stamp, 0, AppendOutcome::Matched(end));
        }
        let end = end.max(self.hard.committed);
        let is_known = brings_nothing || end <= self.log.durable();
        let following = &mut self.following;
        following.owed |= is_known || append.stamp.round > following.newest.round;
        following.newest = following.newest.max(append.stamp);
        following.verified = following.verified.max(end);
        self.learn_committed(append.committed);
        self.settle(append.settled);
    }

    pub(crate) fn heartbeat_arrived(&mut self, heartbeat: Heartbeat) {
        self.following.heard = true;
        self.following.newest = self.following.newest.max(heartbeat.stamp);
        self.learn_committed(heartbeat.committed);
    }

    /// Commits no more than is verified: the rest of our log may differ from the leader's.
    pub(crate) fn learn_committed(&mut self, committed: u64) {
        self.following.committed = self.following.committed.max(committed);
        let verified = planted!(P19, self.log.last().index, self.following.verified);
        let ours = self.following.committed.min(verified);
        self.hard.committed = self.hard.committed.max(ours);
    }

    /// Drops nothing but from the first entry on whose term differs (Raft, figure 2, step 3). Up to the index returned
    /// our log equals the leader's; only a liar's entries contradict what is committed, and they end there.
    pub(crate) fn take_entries(&mut self, prev: u64, entries: Arc<[Entry]>) -> u64 {
        if planted!(P12) && (self.log.base().index..self.log.last().index).contains(&prev) {
            self.cut(prev + 1);
        }
        let mut end = prev;
        let last = self.log.last();
        let is_next = |first: &Entry| prev == last.index && first.position.term >= last.term;
        if entries.first().is_some_and(is_next) {
            end += entries.len() as u64;
            self.append_run(entries);
            return end;
        }
        for entry in entries.iter() {
            let Position { index, term } = entry.position;
            if index <= self.hard.committed || self.log.contains(entry.position) {
                end = index;
                continue;
            }
            if self.log.term_at(index - 1) > Some(term) {
                break;
            }
            end = index;
            if index <= self.log.last().index {
                self.cut(index);
            }
            self.append(entry.clone());
        }
        end
    }

    /// What a leader of this term has proved is never cut by it: two that speak for one term are liars, both.
    fn cut(&mut self, index: u64) {
        self.log.truncate(index);
        self.following.verified = self.following.verified.min(index - 1);
        if !planted!(P31) {
            self.members.truncate(index);
        }
    }

    /// Rule 1: acknowledges what is both verified and durable, once the term is durable too. One answer stands for
    /// all requests since the last.
    pub(crate) fn acknowledge(&mut self) {
        let Some(leader) = self.leader else { return };
        let durable = planted!(P24, self.log.last().index, self.log.durable());
        let matched = planted!(P13, durable, durable.min(self.following.verified));
        let following = &mut self.following;
        let is_about_log = following.owed || matched > following.acknowledged;
        if self.disk.is_promise_durable() && (is_about_log || following.heard) {
            let outcome = match is_about_log {
                true => AppendOutcome::Matched(matched),
                false => AppendOutcome::Heard,
            };
            following.acknowledged = following.acknowledged.max(matched);
            (following.owed, following.heard) = (false, false);
            let (stamp, promise) = (following.newest, self.promise_to_follow());
            self.reply(leader, stamp, promise, outcome);
        }
    }

    /// Rule 8: for how long from now we help no other candidate.
    fn promise_to_follow(&mut self) -> u64 {
        let election = self.config.timing.election_nanos();
        let longest = self.config.leases.map_or(0, |leases| nanos(leases.longest));
        let promise = election.min(longest);
        self.promised_until = self.promised_until.max(self.now.monotonic + promise);
        promise
    }

    fn reply(&mut self, to: ReplicaId, stamp: Stamp, promise: u64, outcome: AppendOutcome) {
        self.send(
            to,
            Body::AppendReply(AppendReply {
                stamp,
                promise,
                outcome,
            }),
        );
    }

    /// A leader of a former term is told the term; whoever else speaks from there is not answered.
    pub(crate) fn answer_former_term(&mut self, from: ReplicaId, body: Body) {
        let prev = match body {
            Body::Append(append) => append.prev.index,
            Body::Heartbeat(_) => 0,
            _ => return,
        };
        let hint = Position::default();
        let outcome = AppendOutcome::Rejected { prev, hint };
        self.reply(from, Stamp::default(), 0, outcome);
    }
}

/// What a correct leader would send: consecutive entries after `prev`, terms rising up to its own, memberships that
/// can be read.
pub(crate) fn is_well_formed(prev: Position, entries: &[Entry], term: u64) -> bool {
    let mut before = prev;
    entries.iter().all(|entry| {
        let Position { term: of, index } = entry.position;
        let follows = Some(index) == before.index.checked_add(1) && before.term <= of && of <= term;
        before = entry.position;
        let is_readable = entry.kind != EntryKind::Membership || entry.membership().is_some();
        follows && is_readable
    })
}
