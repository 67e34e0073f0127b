//! How the words of a command are read.

use std::time::Duration;

use bytes::Bytes;
use little_raft_core::{Change, Entry, EntryKind, Message, Position, ReplicaId, Role, Timing};

/// The words of a command, and its `name=value` options.
pub struct Words<'a> {
    pub words: Vec<&'a str>,
    pub options: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        let (options, words) = line.split_whitespace().partition(|word| word.contains('='));
        let options: Vec<&str> = options;
        let options = options.iter().filter_map(|word| word.split_once('='));
        Self {
            words,
            options: options.collect(),
        }
    }

    pub fn word(&self, place: usize) -> &'a str {
        self.words
            .get(place)
            .copied()
            .unwrap_or_else(|| panic!("a word is missing: {:?}", self.words))
    }

    pub fn id(&self, place: usize) -> u64 {
        number(self.word(place))
    }

    pub fn link(&self) -> (u64, u64) {
        let (from, to) = self.word(1).split_once("->").expect("a link like 1->2");
        (number(from), number(to))
    }

    pub fn option(&self, name: &str) -> Option<&'a str> {
        let named = self.options.iter().find(|(key, _)| *key == name);
        named.map(|(_, value)| *value)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.option(name).map(number)
    }
}

pub fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("a number, not {word:?}"))
}

pub fn time(word: &str) -> Duration {
    if let Some(millis) = word.strip_suffix("ms") {
        Duration::from_millis(number(millis))
    } else {
        Duration::from_secs(number(
            word.strip_suffix('s').expect("a time like 5ms or 5s"),
        ))
    }
}

/// `1@1-3@1,4@2`, or `4` for four entries of term 1.
pub fn log(text: &str) -> Vec<Entry> {
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
pub fn change(word: &str) -> Change {
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

pub fn position(word: &str) -> Position {
    let (index, term) = word.split_once('@').expect("a position like 5@2");
    Position::new(number(index), number(term))
}

pub fn entry(index: u64, term: u64) -> Entry {
    Entry {
        position: Position::new(index, term),
        kind: EntryKind::Command,
        time: index,
        checksum: 0,
        payload: Bytes::from(format!("{index}@{term}")),
    }
}

pub fn altered(mut message: Message, words: &Words<'_>) -> Message {
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
