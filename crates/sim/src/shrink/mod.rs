//! Makes a failing seed a short script in the format of the core's scenarios.
//!
//! What happened to the replicas was recorded in the words of scripts. Played as a script, it should fail too; then
//! whatever is not needed for that is left out, in ever smaller parts (Zeller's delta debugging). What has no place
//! without what was left out, such as the arrival of a message that is not sent, is passed over.

mod harness;
mod player;
#[cfg(all(test, feature = "plants"))]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use little_raft_sim::{Happened, Record};

pub(crate) use player::Played;
use player::play;

/// The shortest script found that fails as the whole record does; none, if that plays through as a script.
pub(crate) fn shrink(record: &Record) -> Option<Played> {
    let whole = play(record);
    let wanted = kind(whole.failure.as_deref()?);
    let mut short = Short {
        record: record.clone(),
        wanted,
    };
    short.record.happened.truncate(whole.length);
    short.leave_out();
    while short.simplify() {
        short.leave_out();
    }
    Some(play(&short.record))
}

/// The shortest record so far that fails as wanted.
struct Short {
    record: Record,
    wanted: String,
}

impl Short {
    /// Takes this one instead, if it fails as well.
    fn take_if_it_fails(&mut self, mut other: Record) -> bool {
        let played = play(&other);
        let fails = played.failure.as_deref().map(kind).as_ref() == Some(&self.wanted);
        if fails {
            other.happened.truncate(played.length);
            self.record = other;
        }
        fails
    }

    /// Leaves out parts, and parts of parts, until nothing more can go.
    fn leave_out(&mut self) {
        let mut part = self.record.happened.len().div_ceil(2).max(1);
        loop {
            let before = self.record.happened.len();
            self.leave_out_parts(part);
            if part == 1 && self.record.happened.len() == before {
                return;
            }
            part = part.div_ceil(2);
        }
    }

    /// Each part of this length goes without which it still fails, the last first.
    fn leave_out_parts(&mut self, part: usize) {
        let mut end = self.record.happened.len();
        while end > 0 {
            let start = end.saturating_sub(part);
            let mut fewer = self.record.clone();
            fewer.happened.drain(start..end);
            self.take_if_it_fails(fewer);
            end = start.min(self.record.happened.len());
        }
    }

    /// Whether something could be made simpler: a smaller group, a usual limit, a message without a copy.
    fn simplify(&mut self) -> bool {
        let simpler = simpler_groups(&self.record);
        let without_copy = (0..self.record.happened.len()).filter_map(|place| {
            let mut record = self.record.clone();
            match &mut record.happened[place] {
                Happened::Arrived(_, _, is_kept) if *is_kept => *is_kept = false,
                _ => return None,
            }
            Some(record)
        });
        let all: Vec<Record> = simpler.into_iter().chain(without_copy).collect();
        all.into_iter().any(|record| self.take_if_it_fails(record))
    }
}

/// The same with one option fewer, with the usual timing, and with one founder fewer.
fn simpler_groups(record: &Record) -> Vec<Record> {
    let (options, ids): (Vec<&str>, Vec<&str>) =
        record.group.split(' ').partition(|word| word.contains('='));
    let with = |ids: &[&str], options: &[&str]| Record {
        group: [ids, options].concat().join(" "),
        ..record.clone()
    };
    let fewer = (0..options.len()).map(|left_out| {
        let mut options = options.clone();
        options.remove(left_out);
        with(&ids, &options)
    });
    let mut simpler: Vec<Record> = fewer.collect();
    if !record.timing.is_empty() {
        simpler.push(Record {
            timing: String::new(),
            ..record.clone()
        });
    }
    if ids.len() > 2 {
        simpler.push(with(&ids[..ids.len() - 1], &options));
    }
    simpler
}

/// What failed, without numbers and details.
fn kind(failure: &str) -> String {
    let first = failure.lines().next().unwrap_or_default();
    first.chars().filter(|it| !it.is_ascii_digit()).collect()
}

/// Whether a script fails, played as the core's tests play it.
pub(crate) fn fails(script: &[String]) -> bool {
    let text = script.join("\n") + "\n";
    catch_unwind(AssertUnwindSafe(|| harness::play(&text))).is_err()
}
