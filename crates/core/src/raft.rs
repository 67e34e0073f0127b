//! The state of a replica, and which part of the algorithm answers what.

use alloc::collections::{BTreeMap, VecDeque};
use core::mem;

use crate::election::Campaign;
use crate::log::Log;
use crate::mail::Mail;
use crate::message::Body;
use crate::random::Random;
use crate::reads::Reads;
use crate::replication::{Following, Leading};
use crate::{
    Apply, Base, Config, ConfigError, Event, HardState, Input, Membership, Message, Now, Outputs,
    Refusal, ReplicaId, Restored, Timing, Write,
};

/// One replica of one group: the algorithm, and nothing else.
///
/// Feed it with [`step`](Self::step) whatever happens, then drain [`outputs`](Self::outputs) and do what they say.
/// Several inputs may be given before the outputs are drained: what they cause is then said in fewer, larger
/// messages. Call `step` with [`Input::Wake`] no later than at [`deadline`](Self::deadline).
///
/// ```
/// use little_raft_core::*;
///
/// let founders = vec![Member::voter(1, "localhost:7001")];
/// let identity =
///     Identity { cluster: 9, replica: ReplicaId(1), incarnation: 5, boot: 1, founders: founders.clone() };
/// let base = Base { membership: Membership::founders(founders), ..Base::default() };
/// let restored = Restored { base, ..Restored::default() };
/// let mut raft = Raft::new(Config::new(&identity, 0), restored, Now::default()).unwrap();
///
/// // Alone, it elects itself as soon as its vote is on disk.
/// let now = Now { monotonic: raft.deadline(), wall: 0 };
/// raft.step(now, Input::Wake);
/// let write = raft.outputs(now).write.expect("a vote to remember");
/// raft.step(now, Input::Flushed { write: write.number });
/// assert_eq!(raft.state(), State::Leader);
/// ```
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) now: Now,
    pub(crate) random: Random,
    pub(crate) mail: Mail,
    pub(crate) hard: HardState,
    pub(crate) log: Log,
    /// The membership in force: the newest in the log (rule 5).
    pub(crate) membership: Membership,
    pub(crate) part: Part,
    pub(crate) leader: Option<ReplicaId>,
    /// What the leader of this term has proved to us.
    pub(crate) following: Following,
    pub(crate) reads: Reads,
    /// Forwarded proposals without an answer: sequence number, ticket.
    pub(crate) forwards: BTreeMap<u64, u64>,
    /// When the leader was last heard.
    pub(crate) contact: u64,
    pub(crate) election_at: u64,
    pub(crate) beat_at: u64,
    pub(crate) disk: Disk,
    pub(crate) accepting: bool,
    /// The state machine has applied all up to here.
    pub(crate) applied: u64,
    /// The last index of each batch that is being applied. Invariant: rising, above `applied`.
    pub(crate) applying: VecDeque<u64>,
    pub(crate) out: Outputs,
    reported: Option<Event>,
}

/// The part a replica plays, with what it needs for it.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Part {
    Follower,
    Campaigner(Campaign),
    Leader(Leading),
}

/// What was given to the disk, and what came back.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    /// The newest write's number.
    number: u64,
    flushed: u64,
    /// The newest write that changed term, vote or base: what promises these waits for it.
    promised: u64,
    /// Term, vote or base changed since the newest write.
    dirty: bool,
    base: Option<Base>,
    /// When the oldest write under way began.
    pub(crate) busy_since: Option<u64>,
}

/// So many batches may be handed over to be applied before the first is reported as applied.
const APPLYING_MAX: usize = 4;

impl Raft {
    /// A follower that remembers what `restored` says.
    ///
    /// # Errors
    /// If the timing in `config` can't work.
    pub fn new(config: Config, restored: Restored, now: Now) -> Result<Self, ConfigError> {
        config.timing.check()?;
        let base = restored.base.position.index;
        let mut raft = Self {
            now,
            random: Random(config.seed ^ config.id.0.rotate_left(32) ^ config.boot.rotate_left(16)),
            mail: Mail::new(&config),
            hard: restored.hard_state,
            membership: restored.base.membership.clone(),
            part: Part::Follower,
            leader: None,
            following: Following::default(),
            reads: Reads::default(),
            forwards: BTreeMap::new(),
            contact: now.monotonic,
            election_at: now.monotonic,
            beat_at: u64::MAX,
            disk: Disk::default(),
            accepting: true,
            applied: base,
            applying: VecDeque::new(),
            out: Outputs::default(),
            reported: None,
            log: Log::new(restored),
            config,
        };
        raft.hard.committed = raft.hard.committed.clamp(base, raft.log.last().index);
        if raft.membership.incoming != [raft.config.id] {
            raft.put_off_election();
        }
        Ok(raft)
    }

    /// Takes in one thing that happened.
    pub fn step(&mut self, now: Now, input: Input) {
        self.tell_time(now);
        match input {
            Input::Wake => self.wake(),
            Input::Message(message) => self.receive(message),
            Input::Unreachable(peer) => self.unreachable(peer),
            Input::Propose {
                ticket,
                checksum,
                payload,
            } => self.propose(ticket, checksum, payload),
            Input::Read { ticket } => self.read(ticket),
            Input::Flushed { write } => self.flushed(write),
            Input::Applied { index } => self.applied(index),
            Input::Fetched { to, entries } => self.fetched(to, entries),
            Input::SetTiming(timing) => self.set_timing(timing),
            Input::Compact { index } => self.compact(index),
            Input::SendPiece { to, piece } => self.send_piece(to, piece),
            Input::SendFailed { to, transfer } => self.end_transfer(to, transfer),
            Input::PieceStored {
                from,
                transfer,
                outcome,
            } => {
                self.piece_stored(from, transfer, outcome);
            }
            Input::Accepting(accepting) => self.accepting = accepting,
            Input::Transfer { to } => self.transfer(to),
        }
    }

    /// Drains what is to be done. Replication happens here: what was proposed since the last call goes out together.
    pub fn outputs(&mut self, now: Now) -> Outputs {
        mem::take(self.outputs_in_place(now))
    }

    /// The same where it lies: take all out of it, and leave the lists to be filled again.
    pub fn outputs_in_place(&mut self, now: Now) -> &mut Outputs {
        let unsent = self.out.messages.len();
        assert_eq!(unsent, 0, "outputs are taken out before more are asked for");
        self.tell_time(now);
        self.ask_for_reads();
        self.replicate();
        self.write();
        self.acknowledge();
        self.hand_over_committed();
        self.report_leadership();
        self.log
            .shrink(self.config.cache_bytes_max, self.hard.committed);
        mem::swap(&mut self.out.messages, &mut self.mail.ready);
        &mut self.out
    }

    /// When [`Input::Wake`] is wanted next, on the monotonic clock; `u64::MAX` for never. Earlier changes nothing.
    pub fn deadline(&self) -> u64 {
        match self.part {
            Part::Leader(_) => self.beat_at,
            Part::Follower | Part::Campaigner(_) => self.election_at.min(self.beat_at),
        }
    }

    fn wake(&mut self) {
        let now = self.now.monotonic;
        if now >= self.beat_at {
            self.beat_at = u64::MAX;
            self.beat();
        }
        if now >= self.election_at && !matches!(self.part, Part::Leader(_)) {
            self.election_due();
        }
    }

    /// What recurs every heartbeat, while there is something to recur for.
    fn beat(&mut self) {
        match self.part {
            Part::Leader(_) => self.lead_on(),
            Part::Follower | Part::Campaigner(_) => self.reads.ask_again(),
        }
    }

    pub(crate) fn schedule_beat(&mut self) {
        let next = self.now.monotonic + self.config.timing.heartbeat_nanos();
        self.beat_at = self.beat_at.min(next);
    }

    fn receive(&mut self, message: Message) {
        match self.mail.admit(&message, &self.membership) {
            Ok(restarted) => {
                if restarted {
                    self.forget_progress(message.from);
                }
                self.listen(message);
            }
            Err(reason) => self.out.events.push(Event::Ignored {
                from: message.from,
                reason,
            }),
        }
    }

    /// The term is looked at once, here; then each kind of message goes to the part that knows it.
    fn listen(&mut self, message: Message) {
        let Message {
            from, term, body, ..
        } = message;
        if let Body::Vote(vote) = body {
            return self.asked_to_vote(from, term, vote);
        }
        if term > self.hard.term {
            self.follow(term, None);
        } else if term < self.hard.term {
            return self.answer_former_term(from, body);
        }
        match body {
            Body::Vote(_) => {}
            Body::VoteReply(reply) => self.vote_arrived(from, reply),
            Body::Append(append) => self.append_arrived(from, append),
            Body::AppendReply(reply) => self.append_answered(from, reply),
            Body::Snapshot(piece) => self.piece_arrived(from, piece),
            Body::SnapshotReply(reply) => self.piece_answered(from, reply),
            Body::Forward(forward) => self.forward_arrived(from, forward),
            Body::ForwardReply(reply) => self.forward_answered(reply),
            Body::Read(read) => self.read_arrived(from, read.number),
            Body::ReadReply(reply) => self.read_answered(reply),
            Body::Campaign => self.told_to_campaign(from),
        }
    }

    /// Enters `term` (or stays in it) as a follower of `leader`.
    pub(crate) fn follow(&mut self, term: u64, leader: Option<ReplicaId>) {
        assert!(term >= self.hard.term, "terms never go back");
        if term > self.hard.term {
            self.hard.term = term;
            self.hard.vote = None;
            self.disk.dirty = true;
            self.following = Following::default();
        }
        let led = matches!(self.part, Part::Leader(_));
        if led || self.leader != leader {
            self.lose_forwards();
            self.reads.ask_anew();
        }
        if !matches!(self.part, Part::Follower) {
            self.drop_transfers();
            self.part = Part::Follower;
            self.beat_at = u64::MAX;
            self.put_off_election();
        }
        self.leader = leader;
    }

    /// The outcome of what was forwarded and not answered is unknown from here on (rule 9).
    fn lose_forwards(&mut self) {
        for (_, ticket) in mem::take(&mut self.forwards) {
            self.out.proposed.push((ticket, Err(Refusal::Unknown)));
        }
    }

    fn write(&mut self) {
        if !self.disk.dirty && !self.log.has_unwritten() {
            return;
        }
        self.disk.number += 1;
        if mem::take(&mut self.disk.dirty) {
            self.disk.promised = self.disk.number;
        }
        self.disk.busy_since.get_or_insert(self.now.monotonic);
        self.out.write = Some(Write {
            number: self.disk.number,
            hard_state: self.hard,
            base: self.disk.base.take(),
            entries: self.log.take_unwritten(self.disk.number),
        });
    }

    fn flushed(&mut self, write: u64) {
        assert!(
            write <= self.disk.number,
            "write {write} was never asked for"
        );
        self.disk.flushed = self.disk.flushed.max(write);
        let idle = self.disk.flushed == self.disk.number;
        self.disk.busy_since = (!idle).then_some(self.now.monotonic);
        self.log.flushed(write);
        self.mail.flushed(write, self.hard.term);
        self.count_own_vote();
        self.commit();
    }

    /// Rule 1: whether our term, vote and base are durable.
    pub(crate) fn is_promise_durable(&self) -> bool {
        !self.disk.dirty && self.disk.flushed >= self.disk.promised
    }

    /// The write that will make, or has made, our term, vote and base durable.
    pub(crate) fn promise(&self) -> u64 {
        if self.disk.dirty {
            self.disk.number + 1
        } else {
            self.disk.promised
        }
    }

    pub(crate) fn vote_for(&mut self, candidate: ReplicaId) {
        self.hard.vote = Some(candidate);
        self.disk.dirty = true;
    }

    pub(crate) fn rebase(&mut self, base: Base) {
        self.log.begin_at(base.position);
        self.disk.base = Some(base);
        self.disk.dirty = true;
    }

    /// Sends now if our promises are durable, else once they are.
    pub(crate) fn send_promise(&mut self, to: ReplicaId, body: Body) {
        let term = self.hard.term;
        if self.is_promise_durable() {
            self.mail.send(to, term, body);
        } else {
            self.mail.send_after(self.promise(), to, term, body);
        }
    }

    /// Hands on what is committed and durable here, a batch at a time.
    fn hand_over_committed(&mut self) {
        let first = self.applying.back().unwrap_or(&self.applied) + 1;
        let last = self.hard.committed.min(self.log.durable());
        if first > last || self.applying.len() >= APPLYING_MAX || self.out.install.is_some() {
            return;
        }
        self.out.apply = match self.log.cached(first, last, self.config.apply_bytes_max) {
            Some(entries) => Apply::Entries(entries),
            None => Apply::Stored {
                first,
                last: last.min(self.log.cached_from() - 1),
            },
        };
        self.applying.push_back(match &self.out.apply {
            Apply::Entries(entries) => first + entries.len() as u64 - 1,
            Apply::Stored { last, .. } => *last,
            Apply::Nothing => unreachable!("set above"),
        });
    }

    /// A late result never lowers the applied index. What a machine remembers over a restart was committed.
    fn applied(&mut self, index: u64) {
        self.applied = self.applied.max(index.min(self.log.last().index));
        self.hard.committed = self.hard.committed.max(self.applied);
        self.applying.retain(|&batch| batch > index);
    }

    fn set_timing(&mut self, timing: Timing) {
        if timing.check().is_ok() {
            self.config.timing = timing;
            self.put_off_election();
            if self.beat_at != u64::MAX {
                self.schedule_beat();
            }
        }
    }

    fn report_leadership(&mut self) {
        let (term, leader, state) = (self.hard.term, self.leader, self.state());
        let event = Event::Leadership {
            term,
            leader,
            state,
        };
        if self.reported.as_ref() != Some(&event) {
            self.out.events.push(event.clone());
            self.reported = Some(event);
        }
    }

    fn tell_time(&mut self, now: Now) {
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.now.wall = now.wall;
    }
}
