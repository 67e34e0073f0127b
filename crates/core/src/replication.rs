//! How the log spreads and what is committed (Raft, sections 5.3 and 5.4).
//!
//! Upholds rule 1 (acknowledged is durable), rule 4 (only the own term commits by counting) and rule 6 (contact,
//! and the three reasons to step down).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;

use crate::message::{Append, AppendOutcome, AppendReply, Body, Forward, ForwardReply};
use crate::progress::{Mode, Progress};
use crate::raft::{Part, Raft};
use crate::{Entry, EntryKind, Event, Fetch, Position, Refusal, ReplicaId, SendSnapshot, StepDown};

/// What a leader keeps.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leading {
    pub(crate) progress: BTreeMap<ReplicaId, Progress>,
    /// The first index of our term.
    pub(crate) began_at: u64,
    /// The newest entry's time.
    pub(crate) time: u64,
    /// Charged when an entry is appended, released by as much when it commits.
    pub(crate) uncommitted_bytes: usize,
    /// The newest forwarded proposal of each origin: its boot and sequence number.
    origins: BTreeMap<ReplicaId, (u64, u64)>,
    /// The named successor, when to give up, and whether it was told.
    transfer: Option<(ReplicaId, u64, bool)>,
    /// Since when a quorum has had durably what our own disk has not.
    disk_behind_since: Option<u64>,
    /// When something was last committed, or nothing was left to commit.
    progressed_at: u64,
}

/// What a follower owes its leader.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Following {
    /// The newest request's `number`, `sent` and `round`.
    newest: (u64, u64, u64),
    /// Our log equals the leader's up to here.
    verified: u64,
    /// The greatest index acknowledged so far.
    acknowledged: u64,
    /// An answer is due, even if there is no more to acknowledge than before.
    owed: bool,
}

impl Leading {
    pub(crate) fn new(
        peers: impl Iterator<Item = ReplicaId>,
        last: u64,
        now: u64,
        uncommitted_bytes: usize,
    ) -> Self {
        Self {
            progress: peers.map(|id| (id, Progress::new(last, now))).collect(),
            began_at: last + 1,
            time: 0,
            uncommitted_bytes,
            origins: BTreeMap::new(),
            transfer: None,
            disk_behind_since: None,
            progressed_at: now,
        }
    }

    pub(crate) fn times(&mut self, past: impl Fn(&mut u64), future: impl Fn(&mut u64)) {
        past(&mut self.progressed_at);
        self.disk_behind_since.as_mut().map(&past);
        if let Some((_, until, _)) = &mut self.transfer {
            future(until);
        }
        for progress in self.progress.values_mut() {
            past(&mut progress.contact);
            if let Mode::Snapshot(transfer) = &mut progress.mode {
                past(&mut transfer.active_at);
            }
        }
    }
}

impl Raft {
    pub(crate) fn propose(&mut self, ticket: u64, checksum: u32, payload: Bytes) {
        let answer = match (&self.part, self.leader) {
            (Part::Leader(leading), _) => match self.refusal(leading) {
                Some(refusal) => Err(refusal),
                None => Ok(self.append(EntryKind::Command, checksum, payload)),
            },
            (_, Some(leader)) => {
                let sequence = self.mail.number();
                self.forwards.insert(sequence, ticket);
                let body = Body::Forward(Forward {
                    sequence,
                    checksum,
                    payload,
                });
                return self.mail.send(leader, self.hard.term, body);
            }
            (_, None) => Err(Refusal::NoLeader),
        };
        self.out.proposed.push((ticket, answer));
    }

    fn refusal(&self, leading: &Leading) -> Option<Refusal> {
        if !self.accepting {
            Some(Refusal::DiskFull)
        } else if leading.transfer.is_some() {
            Some(Refusal::Transferring)
        } else {
            let full = leading.uncommitted_bytes >= self.config.uncommitted_bytes_max;
            full.then_some(Refusal::Busy)
        }
    }

    /// An origin's numbers are accepted only rising, so that a duplicate is never appended (rule 9).
    pub(crate) fn forward_arrived(&mut self, from: ReplicaId, forward: Forward) {
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        let newest = leading.origins.entry(from).or_default();
        if forward.sequence <= newest.1 {
            return;
        }
        newest.1 = forward.sequence;
        let Part::Leader(leading) = &self.part else {
            return;
        };
        let refused = self.refusal(leading).is_some();
        let position =
            (!refused).then(|| self.append(EntryKind::Command, forward.checksum, forward.payload));
        if let (Some(position), Some(progress)) = (position, self.progress(from)) {
            progress.awaits = position.index;
        }
        let reply = ForwardReply {
            sequence: forward.sequence,
            position,
        };
        self.mail
            .send(from, self.hard.term, Body::ForwardReply(reply));
    }

    pub(crate) fn forward_answered(&mut self, reply: ForwardReply) {
        if let Some(ticket) = self.forwards.remove(&reply.sequence) {
            self.out
                .proposed
                .push((ticket, reply.position.ok_or(Refusal::RefusedByLeader)));
        }
    }

    /// Sends every follower what it lacks and may be sent.
    pub(crate) fn replicate(&mut self) {
        self.for_each_follower(|raft, peer| {
            raft.replicate_to(peer);
            raft.tell_committed(peer);
        });
    }

    /// In the order of their ids; of nobody, unless we lead.
    pub(crate) fn for_each_follower(&mut self, mut each: impl FnMut(&mut Self, ReplicaId)) {
        let mut from = Bound::Unbounded;
        while let Some(peer) = self.next_follower(from) {
            each(self, peer);
            from = Bound::Excluded(peer);
        }
    }

    fn next_follower(&self, from: Bound<ReplicaId>) -> Option<ReplicaId> {
        match &self.part {
            Part::Leader(leading) => {
                let mut rest = leading.progress.range((from, Bound::Unbounded));
                rest.next().map(|(&peer, _)| peer)
            }
            Part::Follower | Part::Campaigner(_) => None,
        }
    }

    fn replicate_to(&mut self, peer: ReplicaId) {
        let last = self.log.last().index;
        let messages_max = self.config.in_flight_messages_max;
        let bytes_max = self.config.in_flight_bytes_max;
        loop {
            let Some(progress) = self.progress(peer) else {
                return;
            };
            let next = progress.next;
            if next > last || !progress.may_send(messages_max, bytes_max) {
                return;
            }
            if next <= self.log.base().index {
                return self.begin_transfer(peer);
            }
            match self.log.cached(next, last, self.config.message_bytes_max) {
                Some(entries) => self.send_entries(peer, entries),
                None => return self.fetch(peer, next),
            }
        }
    }

    /// Others hear of commits with the next append; who waits for one hears of it at once.
    fn tell_committed(&mut self, peer: ReplicaId) {
        let committed = self.hard.committed;
        let awaits = |progress: &mut Progress| progress.told < progress.awaits.min(committed);
        if self.progress(peer).is_some_and(awaits) {
            self.send_append(peer, Vec::new());
        }
    }

    /// What is not in memory is read from storage, without waiting for it here.
    fn fetch(&mut self, peer: ReplicaId, first: u64) {
        let (last, bytes_max) = (self.log.cached_from() - 1, self.config.message_bytes_max);
        let Some(progress) = self.progress(peer) else {
            return;
        };
        if progress.fetching.is_none() {
            progress.fetching = Some(first);
            self.out.fetch.push(Fetch {
                to: peer,
                first,
                last,
                bytes_max,
            });
        }
    }

    pub(crate) fn fetched(&mut self, to: ReplicaId, entries: Vec<Entry>) {
        let Some(progress) = self.progress(to) else {
            return;
        };
        let (wanted, next) = (progress.fetching.take(), progress.next);
        // Storage may have answered from before a truncation: only what the log still has is sent.
        let in_order = entries.iter().zip(next..).all(|(entry, index)| {
            entry.position.index == index && self.log.contains(entry.position)
        });
        if wanted == Some(next) && in_order && !entries.is_empty() && next > self.log.base().index {
            self.send_entries(to, entries);
        }
    }

    fn send_entries(&mut self, to: ReplicaId, entries: Vec<Entry>) {
        let bytes = entries.iter().map(Entry::bytes).sum();
        let last = entries[entries.len() - 1].position.index;
        self.send_append(to, entries);
        if let Some(progress) = self.progress(to) {
            progress.sent(last, bytes);
        }
    }

    /// Without entries it is a heartbeat, which also finds out whether what was sent arrived: its `prev` is the last
    /// entry sent.
    pub(crate) fn send_append(&mut self, to: ReplicaId, entries: Vec<Entry>) {
        let committed = self.hard.committed;
        let Some(progress) = self.progress(to) else {
            return;
        };
        progress.told = committed;
        let before = progress.next - 1;
        let term = self.log.term_at(before);
        let prev = term.map_or(self.log.base(), |term| Position::new(before, term));
        let append = Append {
            number: self.mail.number(),
            sent: self.now.monotonic,
            round: self.reads.round(),
            prev,
            committed,
            entries,
        };
        self.mail.send(to, self.hard.term, Body::Append(append));
    }

    pub(crate) fn progress(&mut self, peer: ReplicaId) -> Option<&mut Progress> {
        match &mut self.part {
            Part::Leader(leading) => leading.progress.get_mut(&peer),
            Part::Follower | Part::Campaigner(_) => None,
        }
    }

    /// AppendEntries, receiver (Raft, figure 2). The term is ours.
    pub(crate) fn append_arrived(&mut self, from: ReplicaId, append: Append) {
        if !self.hear_leader(from) || !is_well_formed(&append, self.hard.term) {
            return;
        }
        let newest = (append.number, append.sent, append.round);
        let Position { index: prev, .. } = append.prev;
        // What is committed equals the leader's log, whatever is left of it here (leader completeness).
        if prev > self.hard.committed && !self.log.contains(append.prev) {
            let hint = self.log.floor(append.prev);
            let outcome = AppendOutcome::Rejected { prev, hint };
            return self.reply(from, newest, outcome);
        }
        let end = (prev + append.entries.len() as u64).max(self.hard.committed);
        let is_new_round = append.round > self.following.newest.2;
        let is_known = append.entries.is_empty() || end <= self.log.durable();
        self.take_entries(append.entries);
        let following = &mut self.following;
        following.newest = following.newest.max(newest);
        following.verified = following.verified.max(end);
        following.owed |= is_new_round || is_known;
        // Never beyond what this request verified: the rest of our log may differ from the leader's.
        self.hard.committed = self.hard.committed.max(append.committed.min(end));
    }

    /// Drops nothing but from the first entry on whose term differs (Raft, figure 2, step 3).
    fn take_entries(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let Position { index, .. } = entry.position;
            if index <= self.hard.committed || self.log.contains(entry.position) {
                continue;
            }
            if self.log.term_at(index - 1) > Some(entry.position.term) {
                return;
            }
            if index <= self.log.last().index {
                self.log.truncate(index);
            }
            self.log.append(entry);
        }
    }

    /// The sender leads our term. False if it can't: that would be us.
    pub(crate) fn hear_leader(&mut self, from: ReplicaId) -> bool {
        if matches!(self.part, Part::Leader(_)) {
            return false;
        }
        self.follow(self.hard.term, Some(from));
        self.contact = self.now.monotonic;
        self.put_off_election();
        true
    }

    /// Rule 1: acknowledges what is both verified and durable, once the term is durable too. One answer stands for
    /// all requests since the last.
    pub(crate) fn acknowledge(&mut self) {
        let Some(leader) = self.leader.filter(|&leader| leader != self.config.id) else {
            return;
        };
        let matched = self.following.verified.min(self.log.durable());
        let is_more = matched > self.following.acknowledged;
        if self.is_promise_durable() && (is_more || self.following.owed) {
            self.following.owed = false;
            self.following.acknowledged = matched;
            self.reply(
                leader,
                self.following.newest,
                AppendOutcome::Matched(matched),
            );
        }
    }

    fn reply(&mut self, to: ReplicaId, request: (u64, u64, u64), outcome: AppendOutcome) {
        let (number, sent, round) = request;
        let reply = AppendReply {
            number,
            sent,
            round,
            promise: 0,
            outcome,
        };
        self.mail.send(to, self.hard.term, Body::AppendReply(reply));
    }

    /// A leader of a former term is told the term; whoever else speaks from there is not answered.
    pub(crate) fn answer_former_term(&mut self, from: ReplicaId, body: Body) {
        if let Body::Append(Append { prev, number, .. }) = body {
            let outcome = AppendOutcome::Rejected {
                prev: prev.index,
                hint: Position::default(),
            };
            self.reply(from, (number, 0, 0), outcome);
        }
    }

    pub(crate) fn append_answered(&mut self, from: ReplicaId, reply: AppendReply) {
        let (now, last) = (self.now.monotonic, self.log.last().index);
        let Some(progress) = self.progress(from) else {
            return;
        };
        // Rule 6: contact counts from when the request was sent.
        progress.contact = progress.contact.max(reply.sent.min(now));
        progress.round = progress.round.max(reply.round);
        match reply.outcome {
            AppendOutcome::Matched(index) if index <= last => {
                let was_transfer = matches!(progress.mode, Mode::Snapshot(_));
                progress.matched_up_to(index);
                if was_transfer {
                    self.matched_during_transfer(from);
                }
                self.commit();
            }
            AppendOutcome::Rejected { prev, hint } => self.rejected(from, prev, hint),
            AppendOutcome::Matched(_) => {}
        }
        self.serve_confirmed_reads();
        self.go_ahead();
    }

    /// Goes back a whole term at a time. A rejection that is older than what we know changes nothing.
    fn rejected(&mut self, from: ReplicaId, prev: u64, hint: Position) {
        let (parted, base) = (self.log.floor(hint).index, self.log.base().index);
        let Some(progress) = self.progress(from) else {
            return;
        };
        // What is asked of one that lacks what the log no longer has is whether it has the base.
        let is_stale = prev <= progress.matched || prev >= progress.next.max(base + 1);
        if !is_stale && !matches!(progress.mode, Mode::Snapshot(_)) {
            progress.probe_from(prev.min(parted + 1));
        }
    }

    pub(crate) fn unreachable(&mut self, peer: ReplicaId) {
        if let Some(progress) = self.progress(peer) {
            if let Mode::Replicate = progress.mode {
                progress.probe_from(progress.matched + 1);
            }
        }
    }

    /// What we believed about a follower before its restart no longer holds.
    pub(crate) fn forget_progress(&mut self, peer: ReplicaId) {
        self.end_transfer_to(peer);
        let last = self.log.last().index;
        if let Some(progress) = self.progress(peer) {
            progress.restart(last);
        }
    }

    /// Commits what a quorum has durably, if it is of our own term (rule 4; Raft, section 5.4.2, figure 8).
    pub(crate) fn commit(&mut self) {
        let (id, durable, now) = (self.config.id, self.log.durable(), self.now.monotonic);
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        let progress = &leading.progress;
        let matched = |peer| progress.get(&peer).map_or(0, |progress| progress.matched);
        let reached = self
            .membership
            .reached(|peer| if peer == id { durable } else { matched(peer) });
        if reached > self.hard.committed && self.log.term_at(reached) == Some(self.hard.term) {
            leading.uncommitted_bytes -= self.log.cached_bytes(self.hard.committed + 1, reached);
            leading.progressed_at = now;
            self.hard.committed = reached;
        }
    }

    /// What a leader does every heartbeat.
    pub(crate) fn lead_on(&mut self) {
        if let Some(reason) = self.reason_to_step_down() {
            self.out.events.push(Event::SteppedDown(reason));
            return self.follow(self.hard.term, None);
        }
        self.give_up_transfer();
        self.watch_transfers();
        self.for_each_follower(|raft, peer| raft.send_append(peer, Vec::new()));
        self.schedule_beat();
    }

    /// Rule 6. A leader that can't lead must not keep others from it.
    fn reason_to_step_down(&mut self) -> Option<StepDown> {
        let (id, now) = (self.config.id, self.now.monotonic);
        let election = self.config.timing.election_nanos();
        let (committed, durable) = (self.hard.committed, self.log.durable());
        let Part::Leader(leading) = &mut self.part else {
            return None;
        };
        let progress = &leading.progress;
        let contact = |peer| progress.get(&peer).map_or(0, |progress| progress.contact);
        let contact = self
            .membership
            .reached(|peer| if peer == id { now } else { contact(peer) });
        leading.disk_behind_since = match leading.disk_behind_since {
            _ if committed <= durable => None,
            since => since.or(Some(now)),
        };
        if committed == self.log.last().index {
            leading.progressed_at = now;
        }
        let lasts = |since: u64, bound: u64| now.saturating_sub(since) >= bound;
        if lasts(contact, election) {
            Some(StepDown::NoContact)
        } else if leading
            .disk_behind_since
            .is_some_and(|since| lasts(since, election))
        {
            Some(StepDown::SlowDisk)
        } else {
            lasts(leading.progressed_at, 5 * election).then_some(StepDown::NoProgress)
        }
    }

    /// Leadership transfer (thesis, section 3.10): stop proposals, let the successor catch up, tell it to campaign.
    pub(crate) fn transfer(&mut self, to: Option<ReplicaId>) {
        let until = self.now.monotonic + self.config.timing.election_nanos();
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        let voters = leading
            .progress
            .iter()
            .filter(|(id, _)| self.membership.is_voter(**id));
        let named = voters.filter(|(id, _)| to.is_none_or(|to| to == **id));
        if let Some((&successor, _)) = named.max_by_key(|(_, progress)| progress.matched) {
            leading.transfer = Some((successor, until, false));
            self.go_ahead();
        }
    }

    fn go_ahead(&mut self) {
        let last = self.log.last().index;
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        let Some((successor, _, told @ false)) = &mut leading.transfer else {
            return;
        };
        if leading.progress[successor].matched == last {
            *told = true;
            self.mail.send(*successor, self.hard.term, Body::Campaign);
        }
    }

    fn give_up_transfer(&mut self) {
        let now = self.now.monotonic;
        let Part::Leader(leading) = &mut self.part else {
            return;
        };
        if leading.transfer.is_some_and(|(_, until, _)| now >= until) {
            leading.transfer = None;
        }
        if !self.accepting && leading.transfer.is_none() {
            self.transfer(None);
        }
    }

    pub(crate) fn begin_transfer(&mut self, to: ReplicaId) {
        let (number, now) = (self.mail.number(), self.now.monotonic);
        if let Some(progress) = self.progress(to) {
            progress.await_snapshot(number, now);
            self.out.send_snapshot.push(SendSnapshot {
                to,
                transfer: number,
            });
        }
    }
}

/// What a correct leader would send: consecutive entries after `prev`, terms rising up to its own.
fn is_well_formed(append: &Append, term: u64) -> bool {
    let mut before = append.prev;
    append.entries.iter().all(|entry| {
        let Position { term: of, index } = entry.position;
        let follows = Some(index) == before.index.checked_add(1) && before.term <= of && of <= term;
        before = entry.position;
        follows
    })
}
