//! What was written and how it ended; and whether the replicas still know it.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Outcome;
use crate::proto::mvccpb::KeyValue;

/// The record of all writes. Each key is written by one attempt only, so a key's version says how often that attempt
/// was applied.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Key and revision.
    acknowledged: BTreeMap<String, i64>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// Where replicas and ledger disagree. Empty if nothing is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged writes that some replica doesn't have as they were acknowledged.
    pub lost: BTreeSet<String>,
    /// Writes that some replica applied more than once.
    pub twice: BTreeSet<String>,
    /// Writes that were refused, and that some replica has all the same.
    pub unwanted: BTreeSet<String>,
    /// Writes that one replica has and another hasn't, or has differently.
    pub disputed: BTreeSet<String>,
    /// Keys that nobody wrote.
    pub strange: BTreeSet<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Ledger {
    /// Notes how a write ended. One that was never sent is none.
    pub fn note(&mut self, key: String, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged { revision } => {
                self.acknowledged.insert(key, revision);
            }
            Outcome::Refused => {
                self.refused.insert(key);
            }
            Outcome::Unknown { .. } => {
                self.unknown.insert(key);
            }
            Outcome::Unsent => {}
        }
    }

    /// All attempts.
    pub fn writes(&self) -> usize {
        self.acknowledged.len() + self.refused.len() + self.unknown.len()
    }

    /// Those that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Those whose outcome is unknown.
    pub fn unknown(&self) -> usize {
        self.unknown.len()
    }

    /// How many of those with an unknown outcome have taken effect.
    pub fn unknown_found(&self, found: &[KeyValue]) -> usize {
        let unknown = |kv: &&KeyValue| self.unknown.contains(&text(&kv.key));
        found.iter().filter(unknown).count()
    }

    /// Compares all that each replica has, as of one revision, with the record.
    pub fn check(&self, replicas: &[Vec<KeyValue>]) -> Verdict {
        let mut verdict = Verdict::default();
        for found in replicas {
            let found: BTreeMap<String, &KeyValue> =
                found.iter().map(|kv| (text(&kv.key), kv)).collect();
            self.check_acknowledged(&found, &mut verdict);
            self.check_found(&found, &mut verdict);
        }
        for pair in replicas.windows(2) {
            verdict.disputed.extend(difference(&pair[0], &pair[1]));
        }
        verdict
    }

    fn check_acknowledged(&self, found: &BTreeMap<String, &KeyValue>, verdict: &mut Verdict) {
        for (key, revision) in &self.acknowledged {
            let kept = found.get(key).is_some_and(|kv| {
                kv.create_revision == *revision && kv.value == value_of(key).as_bytes()
            });
            if !kept {
                verdict.lost.insert(key.clone());
            }
        }
    }

    fn check_found(&self, found: &BTreeMap<String, &KeyValue>, verdict: &mut Verdict) {
        for (key, kv) in found {
            if kv.version != 1 || kv.mod_revision != kv.create_revision {
                verdict.twice.insert(key.clone());
            }
            if self.refused.contains(key) {
                verdict.unwanted.insert(key.clone());
            } else if !self.acknowledged.contains_key(key) && !self.unknown.contains(key) {
                verdict.strange.insert(key.clone());
            }
        }
    }
}

/// What belongs to a key: a replica that mixed up two writes would be seen.
pub fn value_of(key: &str) -> String {
    format!("the value of {key}, written once")
}

fn difference(one: &[KeyValue], other: &[KeyValue]) -> BTreeSet<String> {
    let map = |kvs: &[KeyValue]| -> BTreeMap<String, KeyValue> {
        kvs.iter().map(|kv| (text(&kv.key), kv.clone())).collect()
    };
    let (one, other) = (map(one), map(other));
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = |key: &&&String| one.get(**key) != other.get(**key);
    keys.iter().filter(differ).map(|&key| key.clone()).collect()
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, revision: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value_of(key).into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.note("a".into(), Outcome::Acknowledged { revision: 2 });
        ledger.note("b".into(), Outcome::Unknown { timed_out: false });
        ledger.note("c".into(), Outcome::Refused);
        ledger
    }

    fn keys(set: &BTreeSet<String>) -> String {
        set.iter().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not() {
        for rest in [vec![], vec![kv("b", 3)]] {
            let found = [vec![kv("a", 2)], rest].concat();
            let verdict = ledger().check(&[found.clone(), found.clone()]);
            assert!(verdict.is_clean(), "{verdict:?}");
            assert_eq!(ledger().unknown_found(&found), found.len() - 1);
        }
    }

    #[test]
    fn each_disagreement_is_seen() {
        let good = vec![kv("a", 2)];
        let check = |found: Vec<KeyValue>| ledger().check(&[good.clone(), found]);
        assert_eq!(keys(&check(vec![]).lost), "a");
        assert_eq!(keys(&check(vec![kv("a", 5)]).lost), "a");
        let mut changed = kv("a", 2);
        changed.value = value_of("b").into();
        assert_eq!(keys(&check(vec![changed]).lost), "a");
        let mut again = kv("b", 3);
        (again.mod_revision, again.version) = (4, 2);
        assert_eq!(keys(&check(vec![kv("a", 2), again]).twice), "b");
        assert_eq!(keys(&check(vec![kv("a", 2), kv("c", 3)]).unwanted), "c");
        assert_eq!(keys(&check(vec![kv("a", 2), kv("d", 3)]).strange), "d");
        assert_eq!(keys(&check(vec![kv("a", 2), kv("b", 3)]).disputed), "b");
    }
}
