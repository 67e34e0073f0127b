//! What happened to the replicas of a run, in the words of the core's scenario scripts.

use std::collections::{BTreeMap, BTreeSet};

use little_raft_core::message::Body;
use little_raft_core::{Change, Codec, EntryKind, Input, Message, Role, Timing};

use crate::random::hash;
use crate::weather::{MILLI, Weather};

/// From whom to whom.
pub type Link = (u64, u64);

/// Tells a message from all others of its link, also in a run where other messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// What kind of message it is.
    pub kind: u8,
    /// Its sender's term.
    pub term: u64,
    /// So many of this kind and term were sent there before it.
    pub before: u64,
}

/// Names messages as they are sent.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<(Link, u8, u64), u64>);

impl Names {
    /// The name of a message that is sent now.
    pub fn name(&mut self, message: &Message) -> Name {
        let (kind, term) = (kind(&message.body), message.term);
        let link = (message.from.0, message.to.0);
        let count = self.0.entry((link, kind, term)).or_default();
        *count += 1;
        let before = *count - 1;
        Name { kind, term, before }
    }
}

fn kind(body: &Body) -> u8 {
    match body {
        Body::Append(append) if append.entries.is_empty() => 0,
        Body::Append(_) => 1,
        Body::AppendReply(_) => 2,
        Body::Vote(vote) => 3 + vote.ballot as u8,
        Body::VoteReply(reply) => 6 + reply.ballot as u8,
        Body::Snapshot(_) => 9,
        Body::SnapshotReply(_) => 10,
        Body::Forward(_) => 11,
        Body::ForwardReply(_) => 12,
        Body::Read(_) => 13,
        Body::ReadReply(_) => 14,
        Body::Campaign => 15,
        Body::Removed(_) => 16,
        Body::Heartbeat(_) => 17,
        Body::Supply(_) => 18,
        Body::Borrow(_) => 19,
        Body::Lent(_) => 20,
    }
}

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// So many milliseconds went by for it.
    Waited(u64, u64),
    /// It woke.
    Woke(u64),
    /// Its oldest write became durable.
    Flushed(u64),
    /// It was killed.
    Crashed(u64),
    /// It started again.
    Restarted(u64),
    /// Who was no founder started for the first time; whether as a witness.
    Joined(u64, bool),
    /// A message arrived, and if so said, a copy of it goes on travelling.
    Arrived(Link, Name, bool),
    /// What its next input makes it want waits for more of them.
    Held(u64),
    /// What it wants was done.
    Drained(u64),
    /// It was asked for something: a script's command.
    Asked(u64, String),
}

/// How the group was made, and what happened to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The script's first command.
    pub group: String,
    /// What everybody is told at the start.
    pub timing: String,
    /// All that happened.
    pub happened: Vec<Happened>,
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    record: Record,
    replicas: u64,
    witnesses: Vec<u64>,
    names: Names,
    /// By link and content: messages under way, and how many copies of each.
    under_way: BTreeMap<(Link, u64), Vec<(Name, usize)>>,
    /// When something last happened to each.
    seen: BTreeMap<u64, u64>,
    /// Where the newest thing that happened to each stands.
    newest: BTreeMap<u64, usize>,
    /// Those whose wants wait.
    held: BTreeSet<u64>,
}

impl Recorder {
    pub(crate) fn new(weather: &Weather) -> Self {
        let ids: Vec<String> = (1..=weather.replicas).map(|id| id.to_string()).collect();
        let mut group = format!("group {} unbound=yes{}", ids.join(" "), weather.limits());
        let witnesses = weather.witnesses.iter().map(u64::to_string);
        let witnesses: Vec<String> = witnesses.collect();
        if !witnesses.is_empty() {
            group += &format!(" witnesses={}", witnesses.join(","));
        }
        Self {
            record: Record {
                group,
                timing: said_timing(&weather.timing),
                happened: Vec::new(),
            },
            replicas: weather.replicas,
            witnesses: weather.witnesses.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn into_record(self) -> Record {
        self.record
    }

    fn note(&mut self, now: u64, id: u64, what: Happened) {
        let seen = self.seen.entry(id).or_insert(now);
        let waited = (now - *seen) / MILLI;
        *seen += waited * MILLI;
        if waited > 0 {
            self.record.happened.push(Happened::Waited(id, waited));
        }
        self.newest.insert(id, self.record.happened.len());
        self.record.happened.push(what);
    }

    /// After its newest input nothing was done.
    pub(crate) fn held(&mut self, id: u64) {
        self.held.insert(id);
        if let Some(newest) = self.newest.remove(&id) {
            let what = std::mem::replace(&mut self.record.happened[newest], Happened::Held(id));
            self.record.happened.push(what);
        }
    }

    pub(crate) fn drained(&mut self, now: u64, id: u64) {
        self.newest.remove(&id);
        if self.held.remove(&id) {
            self.note(now, id, Happened::Drained(id));
        }
    }

    pub(crate) fn sent(&mut self, message: &Message, bytes: &[u8], copies: usize) {
        let name = self.names.name(message);
        let link = (message.from.0, message.to.0);
        let same = self.under_way.entry((link, hash(0, bytes))).or_default();
        same.push((name, copies));
    }

    pub(crate) fn arrived(&mut self, now: u64, link: Link, bytes: &[u8]) {
        let same = self.under_way.entry((link, hash(0, bytes))).or_default();
        let one = same.iter_mut().find(|(_, copies)| *copies > 0);
        if let Some((name, copies)) = one {
            *copies -= 1;
            let arrived = Happened::Arrived(link, *name, *copies > 0);
            self.note(now, link.1, arrived);
        }
    }

    pub(crate) fn woke(&mut self, now: u64, id: u64) {
        self.note(now, id, Happened::Woke(id));
    }

    pub(crate) fn flushed(&mut self, now: u64, id: u64, writes: usize) {
        for _ in 0..writes {
            self.note(now, id, Happened::Flushed(id));
        }
    }

    pub(crate) fn crashed(&mut self, now: u64, id: u64) {
        self.note(now, id, Happened::Crashed(id));
    }

    pub(crate) fn started(&mut self, now: u64, id: u64, boot: u64) {
        match boot {
            1 if id <= self.replicas => {}
            1 => self.note(now, id, Happened::Joined(id, self.witnesses.contains(&id))),
            _ => self.note(now, id, Happened::Restarted(id)),
        }
    }

    /// What a client, an operator or the machine around it says to a replica.
    pub(crate) fn asked(&mut self, now: u64, id: u64, input: &Input) {
        if let Some(command) = command(id, input) {
            self.note(now, id, Happened::Asked(id, command));
        }
    }
}

/// None for what the player of scripts does by itself.
fn command(id: u64, input: &Input) -> Option<String> {
    Some(match input {
        Input::Propose { ticket, proposal } => match proposal.kind {
            EntryKind::Membership => {
                let changes = Vec::<Change>::from_bytes(proposal.payload.clone()).ok()?;
                let changes: Vec<String> = changes.iter().map(said_change).collect();
                format!("change {id} {}", changes.join(" "))
            }
            _ => format!("propose {id} \"{ticket}\" bytes={}", proposal.payload.len()),
        },
        Input::Read { ticket } => format!("read {id} r{ticket}"),
        Input::Unreachable(peer) => format!("unreachable {id} {peer}"),
        Input::Compact { index } => format!("compact {id} {index}"),
        Input::Accepting(true) => format!("accepting {id} yes"),
        Input::Accepting(false) => format!("accepting {id} no"),
        Input::SetTiming(timing) => format!("timing {id} {}", said_timing(timing)),
        Input::Transfer { to: None } => format!("transfer {id}"),
        Input::Transfer { to: Some(to) } => format!("transfer {id} to {to}"),
        _ => return None,
    })
}

fn said_timing(timing: &Timing) -> String {
    let (heartbeat, election) = (timing.heartbeat.as_millis(), timing.election.as_millis());
    format!("{heartbeat}ms {election}ms")
}

fn said_change(change: &Change) -> String {
    match change {
        Change::Add {
            id, role, witness, ..
        } => match (role, witness) {
            (Role::Voter, true) => format!("witness:{id}"),
            (Role::Voter, false) => format!("add:{id}"),
            (Role::Learner, _) => format!("spare:{id}"),
        },
        Change::Remove(id) => format!("remove:{id}"),
        Change::SetRole(id, Role::Voter) => format!("voter:{id}"),
        Change::SetRole(id, Role::Learner) => format!("learner:{id}"),
        Change::SetAddress(id, address) => format!("address:{id}:{}", address.replace(' ', "_")),
        Change::SetPriority(id, priority) => format!("priority:{id}:{priority}"),
        Change::SetTiming(timing) => format!("timing:{}", said_timing(timing).replace(' ', ":")),
        Change::Bind(id, _) => format!("voter:{id}"),
    }
}
