//! The state of a replica, and which part of the algorithm answers what.

use alloc::collections::{BTreeMap, VecDeque};
use core::mem;

use crate::config::nanos;
use crate::disk::Disk;
use crate::election::Campaign;
use crate::following::Following;
use crate::loans::Borrowing;
use crate::log::Log;
use crate::mail::Mail;
use crate::membership::Memberships;
use crate::message::Body;
use crate::plant::planted;
use crate::progress::Transfer;
use crate::random::Random;
use crate::reads::Reads;
use crate::replication::Leading;
use crate::{
    Apply, Config, ConfigError, Event, HardState, Input, Message, Now, Outputs, ReplicaId,
    Restored, Timing,
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
    pub(crate) own: Own,
    pub(crate) part: Part,
}

/// The part a replica plays, with what it needs for it.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Part {
    Follower,
    Campaigner(Campaign),
    Leader(Leading),
}

/// What a replica has whatever part it plays.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) config: Config,
    pub(crate) now: Now,
    pub(crate) random: Random,
    pub(crate) mail: Mail,
    pub(crate) hard: HardState,
    pub(crate) log: Log,
    pub(crate) members: Memberships,
    /// Some membership that was in force had us as a member.
    pub(crate) belongs: bool,
    /// The version of the membership in which we know ourselves to be removed.
    pub(crate) removed_in: u64,
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) following: Following,
    pub(crate) reads: Reads,
    /// Forwarded proposals without an answer: sequence number, ticket.
    pub(crate) forwards: BTreeMap<u64, u64>,
    pub(crate) borrowing: Borrowing,
    /// Snapshots that we send without leading. Invariant: a leader has none.
    pub(crate) loans: BTreeMap<ReplicaId, Transfer>,
    /// When the leader was last heard; for a leader, when what a quorum had answered at the last heartbeat was sent.
    pub(crate) contact: u64,
    /// Until then we help no candidate but a leader's successor (rule 8).
    pub(crate) promised_until: u64,
    /// When to campaign; never, for a leader.
    pub(crate) election_at: u64,
    /// When to do what recurs every heartbeat.
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

/// So many batches may be handed over to be applied before the first is reported as applied.
const APPLYING_MAX: usize = 4;

impl Raft {
    /// A follower that remembers what `restored` says.
    ///
    /// # Errors
    /// If the timing in `config` can't work.
    pub fn new(config: Config, mut restored: Restored, now: Now) -> Result<Self, ConfigError> {
        config.timing.check()?;
        let base = restored.base.position.index;
        let memberships = mem::take(&mut restored.memberships);
        let mut own = Own {
            now,
            random: Random::new(&config),
            mail: Mail::new(&config),
            hard: restored.hard_state,
            members: Memberships::new(base, restored.base.membership.clone()),
            belongs: false,
            removed_in: 0,
            leader: None,
            following: Following::default(),
            reads: Reads::default(),
            forwards: BTreeMap::new(),
            borrowing: Borrowing::default(),
            loans: BTreeMap::new(),
            contact: now.monotonic,
            promised_until: now.monotonic + config.leases.map_or(0, |it| nanos(it.longest)),
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
        let founded = own.members.newest().clone();
        own.mail.know(&founded);
        let usable = founded.timing.filter(|timing| timing.check().is_ok());
        own.config.timing = usable.unwrap_or(own.config.timing);
        for entry in memberships {
            own.append_membership(&entry);
        }
        own.hard.committed = own.hard.committed.clamp(base, own.log.last().index);
        if !own.members.newest().voters().eq([own.config.id]) {
            own.put_off_election();
        }
        let part = Part::Follower;
        Ok(Self { own, part })
    }

    /// Takes in one thing that happened.
    pub fn step(&mut self, now: Now, input: Input) {
        self.own.tell_time(now);
        let own = &mut self.own;
        match input {
            Input::Wake => self.wake(),
            Input::Message(message) => self.receive(message),
            Input::Propose { ticket, proposal } => {
                let answer = self.propose(now, ticket, proposal);
                let answer = answer.map(|answer| (ticket, answer));
                self.own.out.proposed.extend(answer);
            }
            Input::Read { ticket } => own.read(ticket),
            Input::Flushed { write } => self.flushed(write),
            Input::Applied { index } => own.applied(index),
            Input::SetTiming(timing) => self.set_timing(timing),
            Input::Compact { index } => own.compact(index),
            Input::PieceStored {
                from,
                transfer,
                outcome,
            } => own.piece_stored(from, transfer, outcome),
            Input::Accepting(accepting) => own.accepting = accepting,
            // Only a leader has followers to see to.
            Input::Unreachable(peer) => self.if_leading(|it, _| it.unreachable(peer)),
            Input::Fetched { to, entries } => match &mut self.part {
                Part::Leader(leading) => leading.fetched(own, to, entries),
                _ => own.fetched_to_supply(to, entries),
            },
            Input::SendPiece { to, piece } => match &mut self.part {
                Part::Leader(leading) => leading.send_piece(own, to, piece),
                _ => own.lend_piece(to, piece),
            },
            Input::SendFailed { to, transfer } => match &mut self.part {
                Part::Leader(leading) => leading.send_failed(own, to, transfer),
                _ => own.lend_failed(to, transfer),
            },
            Input::Transfer { to } => self.if_leading(|it, own| it.hand_over(own, to)),
        }
    }

    /// Drains what is to be done. Replication happens here: what was proposed since the last call goes out together.
    pub fn outputs(&mut self, now: Now) -> Outputs {
        mem::take(self.outputs_in_place(now))
    }

    /// The same where it lies: take all out of it, and leave the lists to be filled again.
    pub fn outputs_in_place(&mut self, now: Now) -> &mut Outputs {
        self.own.tell_time(now);
        let state = self.state();
        let own = &mut self.own;
        let unsent = own.out.messages.len();
        assert_eq!(unsent, 0, "outputs are taken out before more are asked for");
        if let Part::Leader(leading) = &mut self.part {
            leading.begin_round(own);
            leading.replicate(own);
            own.write();
        } else {
            own.ask_leader();
            own.write();
            own.acknowledge();
            own.see_removal();
        }
        own.hand_over_committed();
        let (term, leader) = (own.hard.term, own.leader);
        own.report(Event::Leadership {
            term,
            leader,
            state,
        });
        own.log
            .shrink(own.config.cache_bytes_max, own.hard.committed);
        mem::swap(&mut own.out.messages, &mut own.mail.ready);
        &mut own.out
    }

    /// When [`Input::Wake`] is wanted next, on the monotonic clock; `u64::MAX` for never. Earlier changes nothing.
    pub fn deadline(&self) -> u64 {
        self.own.election_at.min(self.own.beat_at)
    }

    fn wake(&mut self) {
        let now = self.own.now.monotonic;
        if now >= self.own.beat_at {
            self.own.beat_at = u64::MAX;
            self.beat();
        }
        if now >= self.own.election_at {
            self.election_due();
        }
    }

    /// What recurs every heartbeat, while there is something to recur for.
    fn beat(&mut self) {
        let Part::Leader(leading) = &mut self.part else {
            self.own.reads.ask_again();
            return self.own.watch_loans();
        };
        match leading.reason_to_step_down(&mut self.own) {
            None => leading.lead_on(&mut self.own),
            Some(reason) => {
                self.own.out.events.push(Event::SteppedDown(reason));
                self.follow(self.own.hard.term, None);
            }
        }
    }

    fn receive(&mut self, message: Message) {
        let (from, own) = (message.from, &mut self.own);
        match (
            own.mail.admit(&message, own.members.newest()),
            &mut self.part,
        ) {
            (Err(reason), _) => return own.out.events.push(Event::Ignored { from, reason }),
            (Ok(true), Part::Leader(leading)) => leading.forget(own, from),
            (Ok(_), _) => {}
        }
        let Message { term, body, .. } = message;
        match body {
            // A wish to lead alone may be of a higher term, and yet not raise ours.
            Body::Vote(vote) => {
                self.own.tell_of_removal(from);
                self.asked_to_vote(from, term, vote);
            }
            Body::Removed(version) => self.own.told_of_removal(version),
            // What a log holds does not depend on who leads whom.
            Body::Supply(supply) => self.supplied(from, term, supply),
            body if term < self.own.hard.term && !is_planted_late(&body) => {
                self.own.answer_former_term(from, body)
            }
            body => {
                let ignored = planted!(P05) && matches!(body, Body::VoteReply(_));
                if term > self.own.hard.term && !ignored {
                    self.follow(term, None);
                }
                self.listen(from, body);
            }
        }
    }

    /// Who listens to what, in the term of both.
    fn listen(&mut self, from: ReplicaId, body: Body) {
        let (own, is_leader) = (&mut self.own, matches!(self.part, Part::Leader(_)));
        match body {
            Body::AppendReply(reply) => {
                self.if_leading(|it, own| it.append_answered(own, from, reply))
            }
            Body::SnapshotReply(reply) => match &mut self.part {
                Part::Leader(leading) => leading.piece_answered(own, from, reply),
                _ => own.loan_answered(from, reply),
            },
            Body::Forward(forward) => {
                self.if_leading(|it, own| it.forward_arrived(own, from, forward))
            }
            Body::Read(read) => self.if_leading(|it, own| it.read_arrived(own, from, read)),
            // Nobody else leads our term, and we ask nobody.
            _ if is_leader => {}
            Body::Append(append) => self.hear_leader(from).append_arrived(from, append),
            Body::Heartbeat(heartbeat) => self.hear_leader(from).heartbeat_arrived(heartbeat),
            Body::Snapshot(piece) => self.hear_leader(from).offer_arrived(from, piece),
            Body::Borrow(index) => own.lend(from, index),
            Body::Lent(piece) => own.lent_arrived(from, piece),
            Body::VoteReply(reply) => self.vote_arrived(from, reply),
            Body::ForwardReply(reply) => own.forward_answered(reply),
            Body::ReadReply(reply) => own.read_answered(reply),
            Body::Campaign => self.told_to_campaign(from),
            Body::Vote(_) | Body::Removed(_) | Body::Supply(_) => {}
        }
    }

    /// Does what only a leader can.
    fn if_leading(&mut self, act: impl FnOnce(&mut Leading, &mut Own)) {
        if let Part::Leader(leading) = &mut self.part {
            act(leading, &mut self.own);
        }
    }

    /// The sender leads our term.
    fn hear_leader(&mut self, from: ReplicaId) -> &mut Own {
        self.follow(self.own.hard.term, Some(from));
        self.own.contact = self.own.now.monotonic;
        self.own.put_off_election();
        &mut self.own
    }

    /// Enters `term` (or stays in it) as a follower of `leader`.
    pub(crate) fn follow(&mut self, term: u64, leader: Option<ReplicaId>) {
        let own = &mut self.own;
        assert!(term >= own.hard.term, "terms never go back");
        if term > own.hard.term {
            (own.hard.term, own.hard.vote) = (term, None);
            own.disk.dirty = true;
            own.following = Following::default();
        }
        if own.leader != leader {
            own.leader = leader;
            own.lose_forwards();
            own.reads.ask_anew();
        }
        if let Part::Follower = self.part {
            return;
        }
        if let Part::Leader(mut leading) = mem::replace(&mut self.part, Part::Follower) {
            leading.end_transfers(own);
        }
        own.beat_at = u64::MAX;
        own.watch_loans();
        own.put_off_election();
    }

    fn flushed(&mut self, write: u64) {
        self.own.flushed(write);
        match &mut self.part {
            Part::Follower => {}
            Part::Campaigner(_) => self.count_own_vote(),
            Part::Leader(leading) => leading.commit(&mut self.own),
        }
    }

    fn set_timing(&mut self, timing: Timing) {
        if timing.check().is_err() {
            return;
        }
        self.own.config.timing = timing;
        if !matches!(self.part, Part::Leader(_)) {
            self.own.put_off_election();
        }
        if self.own.beat_at != u64::MAX {
            self.own.schedule_beat();
        }
    }
}

fn is_planted_late(body: &Body) -> bool {
    let counts = planted!(P02) || planted!(P04);
    counts && matches!(body, Body::VoteReply(_))
}

impl Own {
    pub(crate) fn send(&mut self, to: ReplicaId, body: Body) {
        self.mail.send(to, self.hard.term, body);
    }

    pub(crate) fn schedule_beat(&mut self) {
        let next = self.now.monotonic + self.config.timing.heartbeat_nanos();
        self.beat_at = self.beat_at.min(next);
    }

    /// Hands on what is committed and durable here, a batch at a time.
    fn hand_over_committed(&mut self) {
        if self.config.witness {
            return self.apply_nothing();
        }
        let first = self.applying.back().unwrap_or(&self.applied) + 1;
        let committed = self.hard.committed.min(self.log.durable());
        if first > committed || self.applying.len() >= APPLYING_MAX || self.out.install.is_some() {
            return;
        }
        let apply_bytes_max = self.config.apply_bytes_max;
        let cached = self.log.cached(first, committed, apply_bytes_max);
        let last = match &cached {
            Some(entries) => first + entries.len() as u64 - 1,
            None => committed.min(self.log.cached_from() - 1),
        };
        self.out.apply = cached.map_or(Apply::Stored { first, last }, Apply::Entries);
        self.applying.push_back(planted!(P28, committed, last));
    }

    /// A late result never lowers the applied index. What a machine remembers over a restart was committed.
    fn applied(&mut self, index: u64) {
        let before = planted!(P41, 0, self.applied);
        self.applied = before.max(index.min(self.log.last().index));
        #[cfg(feature = "plants")]
        self.members.applied(self.applied);
        self.hard.committed = self.hard.committed.max(self.applied);
        self.applying.retain(|&batch| batch > index);
    }

    fn report(&mut self, event: Event) {
        if self.reported.as_ref() != Some(&event) {
            self.out.events.push(event.clone());
            self.reported = Some(event);
        }
    }

    pub(crate) fn tell_time(&mut self, now: Now) {
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.now.wall = now.wall;
    }
}
