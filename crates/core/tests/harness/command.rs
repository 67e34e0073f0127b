//! The commands of a script.
//!
//! ```text
//! group 1 2 3 [leader=1] [term=2] [log=1@1,2@2] [committed=2] [window=..] [window_bytes=..] [message=..] [cache=..]
//!             [uncommitted=..] [apply=..] [lease=10s] [restarted=yes] [unbound=yes] [witnesses=3,5]
//!             [nearest=3:2,4:2] (3 would rather have snapshots from 2, and so would 4)
//!                              replicas with these logs; elects a leader, whose own entry ends the log
//! state 2 [term=..] [log=..] [committed=..] [vote=..]    replica 2 starts from this instead
//! elect 1 [by 2 3]             lets it campaign until it leads; only these hear of it
//! propose 1 "x" [bytes=300]    read 1 r        transfer 1 [to 2]    compact 1 5     unreachable 1 2
//! change 1 add:4 remove:2 [..] [expecting=2]   voter:4 learner:2 spare:4 witness:4 address:2:x priority:2:5 timing:10ms:100ms
//! join 4 [witness=yes]         a new replica without a log, that knows nobody; `join 4 as 107`: of this directory
//! slow 2                       its state machine does not report by itself; `applied 2 first|last` does
//! accepting 1 no               timing 1 10ms 100ms                  storing 2 fails
//! deliver 1->2 [first|last|urgent] [term=..] [boot=..] ...      all that waits there, or one; changed on its way
//! deliver 1->2 3 kept          the third that waits there; `kept`: a copy of it goes on waiting
//! drop 1->2 [first|last]       duplicate 1->2  reverse 1->2         keep 1->2 as late; replay late
//! flushed 1 [first]            hang 1          unhang 1
//! hold 1                       what its next input makes it want waits for more of them, or for `drain 1`
//! cut 1->2 | cut 1             heal            what is sent there is lost; what waits there too
//! cut 1->2 bulk                only what carries entries is lost
//! advance 1 400ms              its clock goes on, and it wakes when it wants to; `advance all` moves all clocks
//! due 1                        its clock goes on until it wants to wake, and it wakes
//! pause 1 400ms                its clock goes on, and it does not wake, not even when it wants to; wake 1
//! run 2s                       time passes, network and disks work; only decisions are written down
//! settle                       network and disks work until nothing is left to do
//! crash 1    restart 1         what was not flushed is lost
//! status                       quietly <command>
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use little_raft_core::message::Class;
use little_raft_core::{
    Base, Change, Conditions, Config, Entry, EntryKind, HardState, Identity, Input, Leases, Member,
    Membership, Message, Position, Proposal, ReplicaId, Role, State, Timing,
};

use super::machine::{Disk, Machine};
use super::words;
use super::world::{Voice, World};

/// Whom `id` would rather have snapshots from.
fn nearest(id: u64, words: &Words<'_>) -> Vec<ReplicaId> {
    let all = words.option("nearest").unwrap_or_default().split(',');
    let pairs = all.filter_map(|pair| pair.split_once(':'));
    let own = pairs.filter(|(of, _)| number(of) == id);
    own.map(|(_, near)| ReplicaId(number(near))).collect()
}

/// The words of a command, and its `name=value` options.
struct Words<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (options, words) = line.split_whitespace().partition(|word| word.contains('='));
        let options: Vec<&str> = options;
        let options = options.iter().filter_map(|word| word.split_once('='));
        Self {
            words,
            options: options.collect(),
        }
    }

    fn word(&self, place: usize) -> &'a str {
        self.words
            .get(place)
            .copied()
            .unwrap_or_else(|| panic!("a word is missing: {:?}", self.words))
    }

    fn id(&self, place: usize) -> u64 {
        number(self.word(place))
    }

    fn link(&self) -> (u64, u64) {
        let (from, to) = self.word(1).split_once("->").expect("a link like 1->2");
        (number(from), number(to))
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        let named = self.options.iter().find(|(key, _)| *key == name);
        named.map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.option(name).map(number)
    }
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("a number, not {word:?}"))
}

fn time(word: &str) -> Duration {
    if let Some(millis) = word.strip_suffix("ms") {
        Duration::from_millis(number(millis))
    } else {
        Duration::from_secs(number(
            word.strip_suffix('s').expect("a time like 5ms or 5s"),
        ))
    }
}

/// `1@1-3@1,4@2`, or `4` for four entries of term 1.
fn log(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Ok(count) = text.parse::<u64>() {
        return (1..=count).map(|index| entry(index, 1)).collect();
    }
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (position(first), position(last));
        entries.extend((first.index..=last.index).map(|index| entry(index, first.term)));
    }
    entries
}

/// `add:4`, `remove:2`, `voter:4`, `address:2:x`, ...
fn change(word: &str) -> Change {
    let parts: Vec<&str> = word.split(':').collect();
    let id = || ReplicaId(number(parts[1]));
    let join = |role, witness| Change::Add {
        id: id(),
        address: format!("replica {}", parts[1]),
        role,
        priority: parts.get(2).map_or(0, |word| number(word) as u32),
        witness,
    };
    let add = |role| join(role, false);
    match parts[0] {
        "add" => add(Role::Voter),
        "witness" => join(Role::Voter, true),
        "spare" => add(Role::Learner),
        "remove" => Change::Remove(id()),
        "voter" => Change::SetRole(id(), Role::Voter),
        "learner" => Change::SetRole(id(), Role::Learner),
        "address" => Change::SetAddress(id(), parts[2].replace('_', " ")),
        "priority" => Change::SetPriority(id(), number(parts[2]) as u32),
        "timing" => Change::SetTiming(Timing {
            heartbeat: time(parts[1]),
            election: time(parts[2]),
        }),
        other => panic!("unknown change {other:?}"),
    }
}

fn position(word: &str) -> Position {
    let (index, term) = word.split_once('@').expect("a position like 5@2");
    Position::new(number(index), number(term))
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        position: Position::new(index, term),
        kind: EntryKind::Command,
        time: index,
        checksum: 0,
        payload: Bytes::from(format!("{index}@{term}")),
    }
}

impl World {
    pub fn obey(&mut self, line: &str) {
        let words = Words::of(line);
        let id = |place| words.id(place);
        match words.word(0) {
            "group" => self.group(&words),
            "state" => self.set_state(&words),
            "elect" => self.elect_by(&words),
            "propose" => self.propose(&words, line),
            "read" => {
                let ticket = self.ticket(words.word(2));
                self.step(id(1), Input::Read { ticket });
            }
            "transfer" => {
                let to = words.words.get(3).map(|id| ReplicaId(number(id)));
                self.step(id(1), Input::Transfer { to });
            }
            "change" => self.change(&words),
            "join" => self.join(&words),
            "compact" => self.step(id(1), Input::Compact { index: id(2) }),
            "unreachable" => self.step(id(1), Input::Unreachable(ReplicaId(id(2)))),
            "accepting" => self.step(id(1), Input::Accepting(words.word(2) == "yes")),
            "timing" => {
                let (heartbeat, election) = (time(words.word(2)), time(words.word(3)));
                let timing = Timing {
                    heartbeat,
                    election,
                };
                self.step(id(1), Input::SetTiming(timing));
            }
            "storing" => self.machine(id(1)).are_pieces_refused = words.word(2) == "fails",
            "received" => {
                let base = self.machine(id(4)).disk_to_be().base;
                self.machine(id(1)).received = (base, id(2));
            }
            "slow" => self.machine(id(1)).is_slow = true,
            "applied" => {
                let unreported = &mut self.machine(id(1)).unreported;
                let index = match words.word(2) {
                    "first" => unreported.pop_front(),
                    _ => unreported.pop_back(),
                };
                let index = index.expect("something was applied");
                self.step(id(1), Input::Applied { index });
            }
            "deliver" => {
                for message in self.take(&words) {
                    self.deliver(words.link().1, altered(message, &words));
                }
            }
            "drop" => drop(self.take(&words)),
            "duplicate" => {
                let waiting = self.links.entry(words.link()).or_default();
                waiting.extend(waiting.clone());
            }
            "reverse" => {
                let waiting = self.links.entry(words.link()).or_default();
                waiting.make_contiguous().reverse();
            }
            "keep" => {
                let kept = self.links.entry(words.link()).or_default().clone();
                let name = words.word(3).to_owned();
                self.kept.entry(name).or_default().extend(kept);
            }
            "replay" => {
                for message in self.kept[words.word(1)].clone() {
                    self.deliver(message.to.0, altered(message, &words));
                }
            }
            "flushed" => {
                let is_one = words.words.get(2) == Some(&"first");
                let count = if is_one { 1 } else { usize::MAX };
                self.machine(id(1)).flush(count);
                self.drain(id(1));
            }
            "hold" => self.machine(id(1)).is_held = true,
            "drain" => {
                self.machine(id(1)).is_held = false;
                self.drain(id(1));
            }
            "hang" => self.machine(id(1)).is_disk_hung = true,
            "unhang" => self.machine(id(1)).is_disk_hung = false,
            "cut" => self.cut(&words),
            "heal" => {
                self.cut.clear();
                self.cut_bulk.clear();
            }
            "advance" => self.advance(&words),
            "due" => {
                let machine = self.machine(id(1));
                machine.clock = machine.clock.max(machine.raft().deadline());
                self.step(id(1), Input::Wake);
            }
            "pause" => self.machine(id(1)).clock += time(words.word(2)).as_nanos() as u64,
            "wake" => self.step(id(1), Input::Wake),
            "run" => self.run(time(words.word(1))),
            "settle" => self.in_voice(Voice::Decisions, Self::settle),
            "crash" => self.machine(id(1)).crash(),
            "restart" => {
                let machine = self.machine(id(1));
                machine.config.boot += 1;
                machine.start();
                self.in_voice(Voice::Nothing, |world| world.drain(id(1)));
            }
            "status" => self.status(),
            "quietly" => {
                let rest = line.strip_prefix("quietly ").expect("a command after it");
                self.in_voice(Voice::Nothing, |world| world.obey(rest));
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn in_voice(&mut self, voice: Voice, act: impl FnOnce(&mut Self)) {
        let before = self.voice;
        if before == Voice::All {
            self.voice = voice;
        }
        act(self);
        self.voice = before;
    }

    fn ticket(&mut self, what: &str) -> u64 {
        self.tickets.push(what.to_owned());
        self.tickets.len() as u64 - 1
    }

    fn group(&mut self, words: &Words<'_>) {
        let ids: Vec<u64> = words.words[1..].iter().map(|id| number(id)).collect();
        let unbound = words.option("unbound").is_some();
        let witnesses = words.option("witnesses").unwrap_or_default();
        let is_witness = |id: u64| witnesses.split(',').any(|it| it == id.to_string());
        let founders = ids.iter().map(|&id| Member {
            incarnation: (!unbound).then_some(100 + id),
            witness: is_witness(id),
            ..Member::voter(id, format!("replica {id}"))
        });
        let founders: Vec<Member> = founders.collect();
        let leader = words.number("leader");
        for id in ids.iter().copied() {
            let identity = Identity {
                cluster: 9,
                replica: ReplicaId(id),
                incarnation: 100 + id,
                boot: 1,
                founders: founders.clone(),
            };
            let mut config = Config::new(&identity, 0);
            let limit = |name| words.number(name).map(|limit| limit as usize);
            config.in_flight_messages_max = limit("window").unwrap_or(256);
            config.in_flight_bytes_max =
                limit("window_bytes").unwrap_or(config.in_flight_bytes_max);
            config.message_bytes_max = limit("message").unwrap_or(config.message_bytes_max);
            config.cache_bytes_max = limit("cache").unwrap_or(config.cache_bytes_max);
            config.apply_bytes_max = limit("apply").unwrap_or(config.apply_bytes_max);
            config.uncommitted_bytes_max =
                limit("uncommitted").unwrap_or(config.uncommitted_bytes_max);
            config.witness = is_witness(id);
            config.nearest = nearest(id, words);
            config.leases = words.option("lease").map(|longest| Leases {
                longest: time(longest),
                drift: Duration::ZERO,
            });
            let base = Base {
                position: Position::default(),
                membership: Membership::founders(founders.clone()),
            };
            let mut disk = Disk {
                base,
                ..Disk::default()
            };
            set_disk(&mut disk, words);
            if leader.is_some() {
                // The election raises the term by one, and the new leader's entry ends the log.
                disk.hard_state.term -= 1;
                let own = disk.entries.pop().expect("the leader's own entry");
                assert_eq!(own.position.term, disk.hard_state.term + 1, "own term");
                let committed = disk.hard_state.committed;
                disk.hard_state.committed = committed.min(disk.last().index);
            }
            self.machines.insert(id, Machine::new(config, disk));
            self.in_voice(Voice::Nothing, |world| world.drain(id));
        }
        // Nobody has promised anything before, unless they restart.
        let is_restart = words.option("restarted").is_some();
        let lease = words.option("lease").filter(|_| !is_restart);
        let promised = lease.map_or(Duration::ZERO, time);
        let promised = promised.as_nanos() as u64;
        self.machines
            .values_mut()
            .for_each(|it| it.clock += promised);
        if let Some(leader) = leader {
            self.in_voice(Voice::Nothing, |world| {
                world.elect(leader, &ids);
                world.settle();
                let machine = world.machine(leader);
                machine.clock = machine.raft().deadline();
                world.step(leader, Input::Wake);
                world.settle();
            });
        }
    }

    fn set_state(&mut self, words: &Words<'_>) {
        let machine = self.machine(words.id(1));
        let mut disk = machine.disk.clone();
        set_disk(&mut disk, words);
        *machine = Machine::new(machine.config.clone(), disk);
        self.in_voice(Voice::Nothing, |world| world.drain(words.id(1)));
    }

    fn elect_by(&mut self, words: &Words<'_>) {
        let id = words.id(1);
        let voters: Vec<u64> = match words.words.get(3..) {
            Some(voters) if !voters.is_empty() => voters.iter().map(|id| number(id)).collect(),
            _ => self.machines.keys().copied().collect(),
        };
        self.in_voice(Voice::Answers, |world| world.elect(id, &voters));
        let term = self.machine(id).raft().term();
        self.say(format!("{id} leads term {term}"));
    }

    fn propose(&mut self, words: &Words<'_>, line: &str) {
        let text = line.split('"').nth(1).expect("a command in quotes");
        let ticket = self.ticket(&format!("{text:?}"));
        let length = words.number("bytes").unwrap_or_default() as usize;
        let payload = Bytes::from(format!("{text:.<length$}"));
        let proposal = Proposal::command(0, payload);
        self.step(words.id(1), Input::Propose { ticket, proposal });
    }

    fn change(&mut self, words: &Words<'_>) {
        let changes: Vec<Change> = words.words[2..].iter().map(|word| change(word)).collect();
        let ticket = self.ticket(&words.words[2..].join(" "));
        let conditions = Conditions {
            members_version: words.number("expecting"),
            ..Conditions::default()
        };
        let proposal = Proposal {
            conditions,
            ..Proposal::changes(&changes)
        };
        self.step(words.id(1), Input::Propose { ticket, proposal });
    }

    fn join(&mut self, words: &Words<'_>) {
        let id = words.id(1);
        let any = self.machines.values().next().expect("a group to join");
        let incarnation = match words.words.get(3) {
            Some(incarnation) => number(incarnation),
            None => 100 + id,
        };
        let config = Config {
            id: ReplicaId(id),
            incarnation,
            boot: 1,
            seed: id,
            witness: words.option("witness").is_some(),
            ..any.config.clone()
        };
        let machine = Machine::new(config, Disk::default());
        self.machines.insert(id, machine);
        self.in_voice(Voice::Nothing, |world| world.drain(id));
    }

    fn take(&mut self, words: &Words<'_>) -> Vec<Message> {
        let waiting = self.links.entry(words.link()).or_default();
        match words.words.get(2) {
            Some(&"first") => waiting.pop_front().into_iter().collect(),
            Some(&"last") => waiting.pop_back().into_iter().collect(),
            Some(&"urgent") => {
                let all = std::mem::take(waiting).into_iter();
                let (urgent, others): (VecDeque<_>, _) =
                    all.partition(|it| it.class() == Class::Urgent);
                *waiting = others;
                urgent.into()
            }
            Some(nth) => {
                let place = number(nth) as usize - 1;
                if words.words.get(3) == Some(&"kept") {
                    return vec![waiting[place].clone()];
                }
                vec![waiting.remove(place).expect("so many wait there")]
            }
            None => std::mem::take(waiting).into(),
        }
    }

    fn cut(&mut self, words: &Words<'_>) {
        if words.words.get(2) == Some(&"bulk") {
            self.cut_bulk.insert(words.link());
            return;
        }
        let links: Vec<(u64, u64)> = if words.word(1).contains("->") {
            vec![words.link()]
        } else {
            let id = words.id(1);
            let others = self.machines.keys().filter(|other| **other != id);
            others
                .flat_map(|&other| [(id, other), (other, id)])
                .collect()
        };
        for link in links {
            self.cut.insert(link);
            self.links.remove(&link);
        }
    }

    fn advance(&mut self, words: &Words<'_>) {
        let by = time(words.word(2)).as_nanos() as u64;
        let ids: Vec<u64> = match words.word(1) {
            "all" => self.machines.keys().copied().collect(),
            id => vec![number(id)],
        };
        self.pass(by, &ids, |_| {});
    }

    fn run(&mut self, time: Duration) {
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        self.in_voice(Voice::Decisions, |world| {
            world.settle();
            world.pass(time.as_nanos() as u64, &ids, Self::settle);
        });
    }

    /// Moves these clocks on together; whoever wants to wake on the way does.
    fn pass(&mut self, by: u64, ids: &[u64], after: impl Fn(&mut Self)) {
        let mut left = by;
        loop {
            let until = |id: &u64| {
                let machine = &self.machines[id];
                let deadline = machine.raft.as_ref().map_or(u64::MAX, |r| r.deadline());
                deadline.saturating_sub(machine.clock)
            };
            let next = ids.iter().map(|id| (until(id), *id)).min();
            let (wait, first) = next.expect("somebody");
            let passed = wait.min(left);
            ids.iter().for_each(|&id| self.machine(id).clock += passed);
            if wait > left {
                return;
            }
            left -= passed;
            self.step(first, Input::Wake);
            after(self);
        }
    }

    fn status(&mut self) {
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        for id in ids {
            let Some(raft) = &self.machine(id).raft else {
                self.say(format!("{id} crashed"));
                continue;
            };
            let part = match (raft.state(), raft.leader()) {
                (State::Leader, _) => "leader".to_owned(),
                (State::Follower, Some(leader)) => format!("follows {leader}"),
                (State::Follower, None) => "follows nobody".to_owned(),
                (State::PreCandidate, _) => "asks around".to_owned(),
                (State::Candidate, _) => "campaigns".to_owned(),
            };
            let first = raft.base().index.max(1);
            let log = (first..=raft.last().index)
                .filter_map(|index| raft.term_at(index).map(|term| Position::new(index, term)));
            let log = words::positions(log);
            let (term, committed, durable) = (raft.term(), raft.committed(), raft.durable());
            let line = format!(
                "{id} {part}, term {term}, log {log}, durable {durable}, committed {committed}"
            );
            self.say(line);
        }
    }
}

fn set_disk(disk: &mut Disk, words: &Words<'_>) {
    if let Some(text) = words.option("log") {
        disk.entries = log(text);
    }
    let last = disk.last();
    disk.hard_state = HardState {
        term: words
            .number("term")
            .unwrap_or(last.term.max(disk.hard_state.term)),
        vote: words.number("vote").map(ReplicaId),
        committed: words
            .number("committed")
            .unwrap_or(disk.hard_state.committed),
    };
}

fn altered(mut message: Message, words: &Words<'_>) -> Message {
    let set = |field: &mut u64, name| *field = words.number(name).unwrap_or(*field);
    set(&mut message.cluster, "cluster");
    set(&mut message.group, "group");
    set(&mut message.from.0, "from");
    set(&mut message.to.0, "to");
    set(&mut message.boot, "boot");
    set(&mut message.term, "term");
    set(&mut message.from_incarnation, "incarnation");
    message.to_incarnation = words.number("meant_for").or(message.to_incarnation);
    message
}
