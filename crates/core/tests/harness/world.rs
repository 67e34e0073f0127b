//! All replicas and what is between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use little_raft_core::message::{Body, Class};
use little_raft_core::{Apply, Input, Message, State};

use super::machine::Machine;
use super::words;

/// How much of what happens is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    All,
    /// Neither messages nor writes.
    Decisions,
    /// Only how proposals and reads end.
    Answers,
    Nothing,
}

/// Read rounds are said as 1, 2, 3 in the order in which they appear.
#[derive(Default)]
pub struct Rounds(Vec<u64>);

impl Rounds {
    pub fn say(&mut self, round: u64) -> String {
        if round == 0 {
            return String::new();
        }
        let known = self.0.iter().position(|&known| known == round);
        let place = known.unwrap_or_else(|| {
            self.0.push(round);
            self.0.len() - 1
        });
        format!(", read round {}", place + 1)
    }
}

pub struct World {
    pub machines: BTreeMap<u64, Machine>,
    pub links: BTreeMap<(u64, u64), VecDeque<Message>>,
    /// Links that lose everything.
    pub cut: BTreeSet<(u64, u64)>,
    /// Links that lose whatever carries entries.
    pub cut_bulk: BTreeSet<(u64, u64)>,
    /// Copies of messages, kept to be played again.
    pub kept: BTreeMap<String, Vec<Message>>,
    pub voice: Voice,
    /// What tickets stand for.
    pub tickets: Vec<String>,
    rounds: Rounds,
    transcript: Vec<String>,
    /// The term of each committed entry, and the leader of each term, by whatever replica was first.
    pub(super) committed: BTreeMap<u64, u64>,
    pub(super) leaders: BTreeMap<u64, u64>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            machines: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            cut_bulk: BTreeSet::new(),
            kept: BTreeMap::new(),
            voice: Voice::All,
            tickets: Vec::new(),
            rounds: Rounds::default(),
            transcript: Vec::new(),
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }
}

impl World {
    /// What was written down since the last call; a message that repeats is written once.
    pub fn take_transcript(&mut self) -> Vec<String> {
        let lines = std::mem::take(&mut self.transcript);
        let mut said: Vec<(&String, usize)> = Vec::new();
        for line in &lines {
            let before = said.iter_mut().find(|(other, _)| *other == line);
            match before {
                Some((_, times)) if line.contains(" -> ") => *times += 1,
                _ => said.push((line, 1)),
            }
        }
        let said = said.into_iter().map(|(line, times)| match times {
            1 => line.clone(),
            times => format!("{line}  ({times} times)"),
        });
        said.collect()
    }

    pub fn machine(&mut self, id: u64) -> &mut Machine {
        let machine = self.machines.get_mut(&id);
        machine.unwrap_or_else(|| panic!("there is no replica {id}"))
    }

    pub fn say(&mut self, line: String) {
        if matches!(self.voice, Voice::All | Voice::Decisions) {
            self.transcript.push(line);
        }
    }

    fn say_answer(&mut self, line: String) {
        if self.voice != Voice::Nothing {
            self.transcript.push(line);
        }
    }

    fn say_detail(&mut self, line: String) {
        if self.voice == Voice::All {
            self.transcript.push(line);
        }
    }

    /// Gives an input and does all that it asks for.
    pub fn step(&mut self, id: u64, input: Input) {
        self.machine(id).step(input);
        self.drain(id);
    }

    /// Does what a replica asks for, until it asks for nothing; later, if it is held.
    pub fn drain(&mut self, id: u64) {
        let machine = self.machine(id);
        if machine.raft.is_none() || std::mem::take(&mut machine.is_held) {
            return;
        }
        while self.drain_once(id) {}
        self.tell_committed(id);
        self.check(id);
    }

    fn drain_once(&mut self, id: u64) -> bool {
        let before = self.machine(id).disk_to_be().hard_state;
        let outputs = self.machine(id).outputs();
        let mut inputs = Vec::new();
        for event in &outputs.events {
            self.say(format!("{id} {}", words::event(event)));
        }
        if let Some(write) = outputs.write {
            let known = (before.term, before.vote.map(|vote| vote.0));
            self.say_detail(format!("{id} disk   {}", words::write(&write, known)));
            self.machine(id).writes.push_back(write);
        }
        for message in outputs.messages {
            self.send(message);
        }
        for (ticket, answer) in outputs.proposed {
            let what = self.tickets[ticket as usize].clone();
            self.say_answer(match answer {
                Ok(position) => format!("{id} proposed {what} at {position}"),
                Err(refusal) => format!("{id} proposed {what}: {refusal:?}"),
            });
        }
        for (ticket, answer) in outputs.reads {
            let what = self.tickets[ticket as usize].clone();
            self.say_answer(match answer {
                Ok(index) => format!("{id} reads {what} once {index} is applied"),
                Err(refusal) => format!("{id} reads {what}: {refusal:?}"),
            });
        }
        if let Some(base) = outputs.install {
            self.say(format!("{id} installs the snapshot of {}", base.position));
            let index = base.position.index;
            inputs.extend(self.machine(id).report_applied(index));
        }
        self.tell_committed(id);
        inputs.extend(self.apply(id, outputs.apply));
        for fetch in outputs.fetch {
            let (first, last, to) = (fetch.first, fetch.last, fetch.to);
            self.say_detail(format!("{id} fetches {first}-{last} for {to}"));
            let entries = self.machine(id).disk_to_be().read(first, last);
            inputs.push(Input::Fetched { to, entries });
        }
        for begin in outputs.send_snapshot {
            self.say(format!("{id} begins a snapshot for {}", begin.to));
            let piece = self.machine(id).piece(begin.transfer, 0);
            inputs.push(Input::SendPiece {
                to: begin.to,
                piece,
            });
        }
        for next in outputs.send_piece {
            let piece = self.machine(id).piece(next.transfer, next.offset);
            inputs.push(Input::SendPiece { to: next.to, piece });
        }
        for sent in outputs.sent {
            self.say(format!("{id} ends the snapshot for {}", sent.to));
            self.machine(id).sending.remove(&sent.transfer);
        }
        for received in outputs.pieces {
            let transfer = received.piece.transfer;
            let outcome = self.machine(id).store(received.piece);
            inputs.push(Input::PieceStored {
                from: received.from,
                transfer,
                outcome,
            });
        }
        let is_more = !inputs.is_empty();
        for input in inputs {
            self.machine(id).step(input);
        }
        is_more
    }

    fn apply(&mut self, id: u64, apply: Apply) -> Option<Input> {
        let entries = match apply {
            Apply::Nothing => return None,
            Apply::Entries(entries) => entries.to_vec(),
            Apply::Stored { first, last } => {
                let entries = self.machine(id).disk.read(first, last);
                assert_eq!(entries.len() as u64, last + 1 - first, "not on disk");
                entries
            }
        };
        for applied in entries.iter().filter_map(words::applied) {
            self.say(format!("{id} {applied}"));
        }
        let index = entries.last()?.position.index;
        self.machine(id).report_applied(index)
    }

    fn tell_committed(&mut self, id: u64) {
        let machine = self.machine(id);
        let committed = machine.raft().committed();
        if machine.told != committed {
            machine.told = committed;
            self.say(format!("{id} committed {committed}"));
        }
    }

    fn send(&mut self, message: Message) {
        self.check_promise(&message);
        let link = (message.from.0, message.to.0);
        let said = words::message(&message, &mut self.rounds);
        let is_bulk = message.class() == Class::Bulk && self.cut_bulk.contains(&link);
        let lost = self.cut.contains(&link) || is_bulk;
        if !lost {
            self.say_detail(format!("{} -> {}   {said}", link.0, link.1));
            self.links.entry(link).or_default().push_back(message);
        }
    }

    pub fn deliver(&mut self, to: u64, message: Message) {
        if self.machines.contains_key(&to) {
            self.step(to, Input::Message(message));
        }
    }

    /// Delivers what waits in all links, oldest link first. False if nothing did.
    pub fn deliver_all(&mut self, wanted: impl Fn(&Message) -> bool) -> bool {
        let mut delivered = false;
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let waiting = std::mem::take(self.links.get_mut(&link).expect("listed"));
            let (now, later) = waiting.into_iter().partition(&wanted);
            *self.links.get_mut(&link).expect("listed") = later;
            for message in now as VecDeque<Message> {
                delivered = true;
                self.deliver(link.1, message);
            }
        }
        delivered
    }

    fn flush_some(&mut self, wanted: impl Fn(u64) -> bool) -> bool {
        let mut flushed = false;
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        for id in ids.into_iter().filter(|id| wanted(*id)) {
            let machine = self.machine(id);
            if machine.raft.is_some() && !machine.writes.is_empty() && !machine.is_disk_hung {
                flushed = true;
                machine.flush(usize::MAX);
                self.drain(id);
            }
        }
        flushed
    }

    /// Lets network and disks work until nothing is left to do at this moment.
    pub fn settle(&mut self) {
        while self.deliver_all(|_| true) | self.flush_some(|_| true) {}
    }

    /// Lets a replica campaign, and the voters and the disks work until it leads. For the voters, their leader has
    /// been silent for an election timeout.
    pub fn elect(&mut self, id: u64, voters: &[u64]) {
        let is_vote = |m: &Message| matches!(m.body, Body::Vote(_) | Body::VoteReply(_));
        let is_asked = |id| voters.contains(&id);
        let is_ballot = |m: &Message| is_vote(m) && (is_asked(m.from.0) || is_asked(m.to.0));
        for &voter in voters {
            let machine = self.machine(voter);
            machine.clock += machine.config.timing.election.as_nanos() as u64;
        }
        // A refusal may first have to teach it the term.
        for _ in 0..3 {
            let machine = self.machine(id);
            machine.clock = machine.clock.max(machine.raft().deadline());
            self.step(id, Input::Wake);
            while self.machines[&id].raft().state() != State::Leader
                && (self.deliver_all(is_ballot) || self.flush_some(|m| m == id || is_asked(m)))
            {
            }
            if self.machines[&id].raft().state() == State::Leader {
                break;
            }
        }
        let state = self.machines[&id].raft().state();
        assert_eq!(state, State::Leader, "{id}, by the votes of {voters:?}");
        for link in self.links.values_mut() {
            link.retain(|message| !is_vote(message));
        }
    }
}
