//! How the log spreads and what is committed (Raft, sections 5.3 and 5.4): the leader's side.
//!
//! Upholds rule 4 (only the own term commits by counting).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::nanos;
use crate::message::{Append, AppendOutcome, AppendReply, Body, Heartbeat, Stamp};
use crate::plant::planted;
use crate::progress::{Mode, Progress};
use crate::raft::Own;
use crate::transfer::Handover;
use crate::{Entry, EntryKind, Fetch, Leases, Position, ReplicaId};

/// What a leader keeps.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leading {
    pub(crate) progress: BTreeMap<ReplicaId, Progress>,
    /// The first index of our term.
    pub(crate) began_at: u64,
    /// The newest entry's time.
    time: u64,
    /// Charged when an entry is appended, released by as much when it commits.
    pub(crate) uncommitted_bytes: usize,
    /// The newest forwarded proposal of each origin.
    pub(crate) origins: BTreeMap<ReplicaId, u64>,
    pub(crate) handover: Option<Handover>,
    /// Some successor was given the go-ahead in this term.
    pub(crate) has_told_successor: bool,
    /// An index that a quorum has durably and our own disk has not, and since when.
    pub(crate) disk_behind: Option<(u64, u64)>,
    /// When something was last committed, or nothing was left to commit.
    pub(crate) progressed_at: u64,
    /// The log's last index at the last heartbeat.
    pub(crate) last_at_beat: u64,
    /// Not before this is leadership handed to a voter of a higher priority.
    pub(crate) give_back_at: u64,
}

impl Leading {
    /// Opens a term: an entry of its own lets those of earlier terms commit (Raft, section 8).
    pub(crate) fn begin(own: &mut Own) -> Self {
        let (now, last) = (own.now.monotonic, own.log.last().index);
        let committed = planted!(P21, 0, own.hard.committed);
        let peers = own.members.newest().members.iter().map(|member| member.id);
        let peers = peers.filter(|&id| id != own.config.id);
        let mut leading = Self {
            progress: peers.map(|id| (id, Progress::new(last, now))).collect(),
            began_at: last + 1,
            time: own.log.last_time(),
            uncommitted_bytes: own.log.cached_bytes(committed + 1, last),
            origins: BTreeMap::new(),
            handover: None,
            has_told_successor: false,
            disk_behind: None,
            progressed_at: now,
            last_at_beat: last + 1,
            give_back_at: now,
        };
        if !planted!(P26) {
            leading.append(own, EntryKind::Noop, 0, Bytes::new());
        }
        leading
    }

    pub(crate) fn append(
        &mut self,
        own: &mut Own,
        kind: EntryKind,
        checksum: u32,
        payload: Bytes,
    ) -> Position {
        self.time = self.time.max(own.now.wall);
        let entry = Entry {
            position: Position::new(own.log.last().index + 1, own.hard.term),
            kind,
            time: self.time,
            checksum,
            payload,
        };
        let position = entry.position;
        self.uncommitted_bytes += entry.bytes();
        own.append(entry);
        position
    }

    /// All moments it remembers.
    pub(crate) fn times(&mut self) -> impl Iterator<Item = &mut u64> {
        let own = [&mut self.progressed_at, &mut self.give_back_at].into_iter();
        let own = own.chain(self.disk_behind.as_mut().map(|(_, since)| since));
        let own = own.chain(self.handover.as_mut().map(|handover| &mut handover.until));
        own.chain(self.progress.values_mut().flat_map(Progress::times))
    }

    /// Sends every follower what it lacks and may be sent.
    pub(crate) fn replicate(&mut self, own: &mut Own) {
        for (&peer, progress) in &mut self.progress {
            progress.replicate(own, peer);
            // Others hear of commits with the next append; who waits for one hears of it at once.
            if progress.told < progress.awaits.min(own.hard.committed) {
                progress.send_append(own, peer, Arc::default());
            }
        }
    }

    pub(crate) fn heartbeat(&mut self, own: &mut Own) {
        for (&peer, progress) in &mut self.progress {
            progress.send_append(own, peer, Arc::default());
            // On a slow link that takes longer than an election timeout to get through what was sent before.
            if progress.is_busy() {
                own.send_heartbeat(peer);
            }
        }
    }

    /// Asks all whether we still lead (rule 8).
    pub(crate) fn ask_round(&mut self, own: &mut Own) {
        self.progress.keys().for_each(|&id| own.send_heartbeat(id));
    }

    pub(crate) fn fetched(&mut self, own: &mut Own, to: ReplicaId, entries: Vec<Entry>) {
        let Some(progress) = self.progress.get_mut(&to) else {
            return;
        };
        let (wanted, next) = (progress.fetching.take(), progress.next);
        // Storage may have answered from before a truncation: only what the log still has is sent.
        let is_next = |(entry, index): (&Entry, u64)| {
            entry.position.index == index && own.log.contains(entry.position)
        };
        let in_order = !entries.is_empty() && entries.iter().zip(next..).all(is_next);
        if wanted == Some(next) && in_order && next > own.log.base().index {
            progress.send_entries(own, to, entries.into());
        }
    }

    pub(crate) fn append_answered(&mut self, own: &mut Own, from: ReplicaId, reply: AppendReply) {
        let Some(progress) = self.progress.get_mut(&from) else {
            return;
        };
        // Rule 6: contact counts from when the request was sent.
        let sent = reply.stamp.sent.min(own.now.monotonic);
        progress.contact = progress.contact.max(sent);
        let round = planted!(P37, own.reads.number, reply.stamp.round);
        progress.round = progress.round.max(round);
        if let Some(Leases { longest, drift }) = own.config.leases {
            let from = planted!(P38, own.now.monotonic, sent);
            let lease = from + reply.promise.min(nanos(longest));
            progress.lease = progress.lease.max(lease.saturating_sub(nanos(drift)));
        }
        match reply.outcome {
            AppendOutcome::Matched(index) if index <= own.log.last().index => {
                progress.matched_up_to(index);
                // It may catch up by the log after all.
                if progress.matched >= own.log.base().index {
                    progress.end_transfer(from, &mut own.out);
                }
                if index > own.hard.committed {
                    self.commit(own);
                }
            }
            AppendOutcome::Matched(_) | AppendOutcome::Heard => {}
            AppendOutcome::Rejected { prev, hint } => progress.rejected(own, prev, hint),
        }
        self.serve_confirmed_reads(own);
        self.go_ahead(own);
    }

    pub(crate) fn unreachable(&mut self, peer: ReplicaId) {
        if let Some(progress) = self.progress.get_mut(&peer) {
            if let Mode::Replicate = progress.mode {
                progress.probe_from(progress.matched + 1);
            }
        }
    }

    /// What we believed about a follower before its restart no longer holds.
    pub(crate) fn forget(&mut self, own: &mut Own, peer: ReplicaId) {
        if let Some(progress) = self.progress.get_mut(&peer) {
            progress.end_transfer(peer, &mut own.out);
            let contact = progress.contact;
            *progress = Progress::new(own.log.last().index, contact);
        }
    }

    /// What a quorum has reached, we ourselves `ours`.
    pub(crate) fn reached(&self, own: &Own, ours: u64, of: impl Fn(&Progress) -> u64) -> u64 {
        let value = self.each(own, ours, of);
        let members = own.members.newest();
        #[cfg(feature = "plants")]
        let value = crate::plant::with_outsiders(members, own.config.id, value);
        members.reached(value)
    }

    /// What each has, we ourselves `ours`.
    pub(crate) fn each(
        &self,
        own: &Own,
        ours: u64,
        of: impl Fn(&Progress) -> u64,
    ) -> impl Fn(ReplicaId) -> u64 {
        let us = own.config.id;
        move |id| match id == us {
            true => ours,
            false => self.progress.get(&id).map_or(0, &of),
        }
    }

    /// Commits what a quorum has durably, if it is of our own term (rule 4; Raft, section 5.4.2, figure 8).
    pub(crate) fn commit(&mut self, own: &mut Own) {
        let ours = planted!(P23, own.log.last().index, own.log.durable());
        let (reached, committed) = (
            self.reached(own, ours, |peer| peer.matched),
            own.hard.committed,
        );
        let is_ours = own.log.term_at(reached) == Some(own.hard.term) || planted!(P22);
        if reached > committed && is_ours {
            self.uncommitted_bytes -= own.log.cached_bytes(committed + 1, reached);
            self.progressed_at = own.now.monotonic;
            own.hard.committed = reached;
            self.go_on_changing(own);
        }
    }
}

impl Own {
    fn stamp(&mut self) -> Stamp {
        Stamp {
            number: self.mail.number(),
            sent: self.now.monotonic,
            round: self.reads.number,
        }
    }

    fn send_heartbeat(&mut self, to: ReplicaId) {
        let (stamp, committed) = (self.stamp(), self.hard.committed);
        self.send(to, Body::Heartbeat(Heartbeat { stamp, committed }));
    }
}

impl Progress {
    fn replicate(&mut self, own: &mut Own, to: ReplicaId) {
        let last = own.log.last().index;
        while self.next <= last && self.may_send(&own.config) {
            if self.next <= own.log.base().index {
                return self.begin_transfer(to, own);
            }
            let bytes_max = own.config.message_bytes_max;
            match own.log.cached(self.next, last, bytes_max) {
                Some(entries) => self.send_entries(own, to, entries),
                None => return self.fetch(own, to),
            }
        }
    }

    /// What is not in memory is read from storage, without waiting for it here.
    fn fetch(&mut self, own: &mut Own, to: ReplicaId) {
        if self.fetching.is_none() {
            self.fetching = Some(self.next);
            own.out.fetch.push(Fetch {
                to,
                first: self.next,
                last: own.log.cached_from() - 1,
                bytes_max: own.config.message_bytes_max,
            });
        }
    }

    fn send_entries(&mut self, own: &mut Own, to: ReplicaId, entries: Arc<[Entry]>) {
        let bytes = entries.iter().map(Entry::bytes).sum();
        let last = self.next - 1 + entries.len() as u64;
        self.send_append(own, to, entries);
        self.sent(last, bytes);
    }

    /// Without entries it finds out whether what was sent has arrived: its `prev` is the last entry sent.
    fn send_append(&mut self, own: &mut Own, to: ReplicaId, entries: Arc<[Entry]>) {
        let is_parked = planted!(P20) && entries.is_empty();
        let before = if is_parked {
            self.matched
        } else {
            self.next - 1
        };
        let term = own.log.term_at(before);
        let append = Append {
            stamp: own.stamp(),
            prev: term.map_or(own.log.base(), |term| Position::new(before, term)),
            committed: own.hard.committed,
            settled: self.settled,
            entries,
        };
        self.told = own.hard.committed;
        own.send(to, Body::Append(append));
    }

    /// Goes back a whole term at a time. A rejection that is older than what we know changes nothing.
    fn rejected(&mut self, own: &Own, prev: u64, hint: Position) {
        // What is asked of one that lacks what the log no longer has is whether it has the base.
        let is_stale = prev <= self.matched || prev >= self.next.max(own.log.base().index + 1);
        if !is_stale && !matches!(self.mode, Mode::Snapshot(_)) {
            if planted!(P14) {
                self.matched = self.matched.max(hint.index);
            }
            self.probe_from(prev.min(own.log.floor(hint).index + 1));
        }
    }
}
