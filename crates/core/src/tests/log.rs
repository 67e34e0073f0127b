use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::EntryKind;
use crate::random::Random;

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    Entry {
        position: Position::new(index, term),
        kind: EntryKind::Command,
        time: 0,
        checksum: 0,
        payload: Bytes::from(vec![0; bytes]),
    }
}

fn empty() -> Log {
    Log::new(Restored::default())
}

fn with(terms: &[u64]) -> Log {
    let mut log = empty();
    for (place, &term) in terms.iter().enumerate() {
        log.append(entry(place as u64 + 1, term, 0));
    }
    log
}

/// The slow way to keep a log: every entry with its own name, and the names that every write took.
#[derive(Default)]
struct Model {
    base: Position,
    entries: Vec<(u64, Entry)>,
    names: u64,
    writes: Vec<(u64, Vec<u64>)>,
    taken: Vec<u64>,
    durable: Vec<u64>,
}

impl Model {
    fn last(&self) -> Position {
        let last = self.entries.last().map(|(_, entry)| entry.position);
        last.unwrap_or(self.base)
    }

    fn at(&self, index: u64) -> Option<Position> {
        let positions = self.entries.iter().map(|(_, entry)| entry.position);
        let mut positions = positions.chain([self.base]);
        positions.find(|position| position.index == index)
    }

    fn durable(&self) -> u64 {
        let is_durable = |(name, _): &&(u64, Entry)| self.durable.contains(name);
        self.base.index + self.entries.iter().take_while(is_durable).count() as u64
    }

    fn floor(&self, limit: Position) -> Position {
        (self.base.index..=limit.index)
            .rev()
            .filter_map(|index| self.at(index))
            .find(|position| position.term <= limit.term)
            .unwrap_or(self.base)
    }

    fn append(&mut self, entry: Entry) {
        self.names += 1;
        self.entries.push((self.names, entry));
    }

    fn truncate(&mut self, index: u64) {
        self.entries
            .retain(|(_, entry)| entry.position.index < index);
    }

    fn begin_at(&mut self, base: Position) {
        if self.at(base.index) != Some(base) {
            self.entries.clear();
        }
        self.entries
            .retain(|(_, entry)| entry.position.index > base.index);
        self.base = base;
    }

    fn take_unwritten(&mut self, number: u64) -> Vec<Entry> {
        let is_new = |(name, _): &&(u64, Entry)| !self.taken.contains(name);
        let new: Vec<(u64, Entry)> = self.entries.iter().filter(is_new).cloned().collect();
        let names: Vec<u64> = new.iter().map(|(name, _)| *name).collect();
        self.taken.extend(&names);
        self.writes.push((number, names));
        new.into_iter().map(|(_, entry)| entry).collect()
    }

    fn flushed(&mut self, number: u64) {
        for (write, names) in &self.writes {
            if *write <= number {
                self.durable.extend(names);
            }
        }
        self.writes.retain(|(write, _)| *write > number);
    }

    fn entries(&self, first: u64, last: u64, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut wanted = Vec::new();
        for (_, entry) in &self.entries {
            let index = entry.position.index;
            if index < first || index > last {
                continue;
            }
            bytes += entry.bytes();
            if index != first && bytes > bytes_max {
                break;
            }
            wanted.push(entry.clone());
        }
        wanted
    }
}

/// One log and its model, given the same.
struct Pair {
    log: Log,
    model: Model,
    random: Random,
    number: u64,
}

impl Pair {
    /// A number from `least` to `most`.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.random.below(most + 1 - least)
    }

    fn act(&mut self) {
        let (base, last) = (self.model.base, self.model.last());
        match self.random.below(10) {
            0..3 => {
                let term = last.term.max(1) + self.random.below(8) / 7;
                let entry = entry(last.index + 1, term, self.random.below(40) as usize);
                self.log.append(entry.clone());
                self.model.append(entry);
            }
            3 => {
                let term = last.term.max(1);
                let end = last.index + self.random.below(4);
                let run = (last.index + 1..=end).map(|index| entry(index, term, 9));
                let run: Vec<Entry> = run.collect();
                run.iter()
                    .for_each(|entry| self.model.append(entry.clone()));
                self.log.append_run(run.into());
            }
            4 if last.index > base.index => {
                let index = self.between(base.index + 1, last.index);
                self.log.truncate(index);
                self.model.truncate(index);
            }
            5 => {
                let index = self.between(base.index, last.index + 2);
                let term = self.model.at(index).map_or(last.term, |at| at.term);
                let term = term + self.random.below(4) / 3;
                self.log.begin_at(Position::new(index, term));
                self.model.begin_at(Position::new(index, term));
            }
            6 | 7 if self.log.has_unwritten() => {
                self.number += 1;
                let written = self.log.take_unwritten(self.number);
                assert_eq!(*written, self.model.take_unwritten(self.number));
            }
            8 => {
                let number = self.random.below(self.number + 1);
                self.log.flushed(number);
                self.model.flushed(number);
            }
            _ => {
                let (bytes, settled) = (self.random.below(400), self.random.below(last.index + 1));
                self.log.shrink(bytes as usize, settled);
            }
        }
    }

    fn compare(&mut self) {
        let (base, last) = (self.model.base, self.model.last());
        assert_eq!(self.log.base(), base);
        assert_eq!(self.log.last(), last);
        assert_eq!(self.log.durable(), self.model.durable(), "durable");
        for index in 0..last.index + 2 {
            let term = self.model.at(index).map(|at| at.term);
            assert_eq!(self.log.term_at(index), term, "term at {index}");
        }
        for index in base.index..last.index + 3 {
            let limit = Position::new(index, self.random.below(last.term + 2));
            assert_eq!(self.log.floor(limit), self.model.floor(limit), "{limit}");
        }
        self.compare_cached(base.index + 1, last.index);
    }

    fn compare_cached(&mut self, begin: u64, end: u64) {
        assert!(
            self.log.cached_from() <= self.log.durable() + 1,
            "what is not durable is cached"
        );
        let (first, last) = (self.between(begin, end + 1), self.between(begin, end + 1));
        let bytes_max = self.random.below(300) as usize;
        let cached = self.log.cached(first, last, bytes_max);
        assert_eq!(cached.is_some(), first >= self.log.cached_from());
        if let Some(cached) = cached {
            let wanted = self.model.entries(first, last, bytes_max);
            assert_eq!(*cached, wanted, "{first} to {last} in {bytes_max}");
        }
        let from = first.max(self.log.cached_from());
        let entries = self.model.entries(from, last, usize::MAX);
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        assert_eq!(self.log.cached_bytes(from, last), bytes);
    }
}

#[test]
fn a_log_does_what_a_slow_log_does() {
    for seed in 0..300 {
        let mut pair = Pair {
            log: empty(),
            model: Model::default(),
            random: Random(seed),
            number: 0,
        };
        for _ in 0..120 {
            pair.act();
            pair.compare();
        }
    }
}

#[test]
fn p15_a_flush_of_replaced_entries_makes_nothing_durable() {
    let mut log = with(&[1, 1, 1]);
    log.take_unwritten(1);
    log.truncate(2);
    log.append(entry(2, 2, 0));
    log.take_unwritten(2);
    log.flushed(1);
    assert_eq!(log.durable(), 1, "2 and 3 of the first write are gone");
    log.flushed(2);
    assert_eq!(log.durable(), 2);
}

#[test]
fn p42_a_base_of_another_term_clears_what_is_being_written() {
    let mut log = with(&[1, 1, 1, 1]);
    log.take_unwritten(1);
    log.begin_at(Position::new(2, 3));
    assert_eq!(log.last(), Position::new(2, 3));
    log.append(entry(3, 3, 0));
    log.flushed(1);
    assert_eq!(log.durable(), 2, "the write had another entry 3");
}

#[test]
fn the_floor_skips_whole_terms() {
    let log = with(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
    let rows = [
        ("there", Position::new(10, 6), Position::new(10, 6)),
        ("beyond the end", Position::new(12, 7), Position::new(10, 6)),
        ("a term too low", Position::new(10, 5), Position::new(7, 5)),
        ("between terms", Position::new(9, 3), Position::new(3, 1)),
        ("in the run", Position::new(5, 4), Position::new(5, 4)),
        ("before all", Position::new(9, 0), Position::new(0, 0)),
    ];
    for (row, limit, floor) in rows {
        assert_eq!(log.floor(limit), floor, "{row}");
    }
}

#[test]
fn cached_gives_at_least_one_entry_and_no_more_than_fit() {
    let mut log = empty();
    (1..=4).for_each(|index| log.append(entry(index, 1, 100)));
    let one = entry(1, 1, 100).bytes();
    let mut count =
        |first, last, bytes_max| log.cached(first, last, bytes_max).map(|some| some.len());
    assert_eq!(count(1, 4, 0), Some(1), "one, however large");
    assert_eq!(count(1, 4, 3 * one - 1), Some(2));
    assert_eq!(count(1, 4, 3 * one), Some(3));
    assert_eq!(count(1, 2, usize::MAX), Some(2), "not past the last wanted");
    assert_eq!(count(5, 4, usize::MAX), Some(0), "nothing after the end");
    assert_eq!(count(0, 4, usize::MAX), None, "nothing before the cache");
}

#[test]
#[should_panic(expected = "never truncated")]
fn what_a_snapshot_covers_is_never_truncated() {
    let mut log = with(&[1, 1, 1]);
    log.begin_at(Position::new(2, 1));
    log.truncate(2);
}

#[test]
#[should_panic(expected = "one after another")]
fn a_gap_is_our_own_mistake() {
    with(&[1]).append(entry(3, 1, 0));
}

/// A leader's clock may lag behind: what it appends is no earlier than what it once had in memory.
#[test]
fn p57_the_newest_time_outlives_its_entry() {
    let mut log = empty();
    let time = 7;
    log.append(Entry {
        time,
        ..entry(1, 1, 0)
    });
    log.take_unwritten(1);
    log.flushed(1);
    log.shrink(0, 1);
    assert_eq!((log.cached_from(), log.last_time()), (2, 7));
    log.begin_at(Position::new(1, 1));
    assert_eq!(log.last_time(), 7);
}
