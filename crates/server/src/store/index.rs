//! Which keys exist, and where their versions are: in memory, rebuilt from disk at the start.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::record::{Record, Revision};

/// What the index remembers of one version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// When it was written, and where its record is.
    pub revision: Revision,
    /// What its record counts for in the quota.
    pub bytes: u32,
    /// The revision that last created the key; 0 for a tombstone.
    pub create: i64,
    /// The number of writes since; 0 for a tombstone.
    pub version: i64,
}

impl Version {
    /// The entry for `record`.
    pub fn of(revision: Revision, record: &Record) -> Self {
        Self {
            revision,
            bytes: u32::try_from(record.bytes()).unwrap_or(u32::MAX),
            create: record.create,
            version: record.version,
        }
    }

    fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

/// A range of keys in etcd's notation.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a> {
    /// The first key.
    pub key: &'a [u8],
    /// Empty: only `key`. One zero byte: all from `key` on. Else the first key behind the range.
    pub end: &'a [u8],
}

impl<'a> KeyRange<'a> {
    fn is_empty(self) -> bool {
        !matches!(self.end, [] | [0]) && self.end <= self.key
    }

    fn upto(self) -> Bound<&'a [u8]> {
        match self.end {
            [] => Bound::Included(self.key),
            [0] => Bound::Unbounded,
            end => Bound::Excluded(end),
        }
    }

    /// Whether `key` is in it.
    pub fn contains(self, key: &[u8]) -> bool {
        match self.end {
            [] => key == self.key,
            [0] => key >= self.key,
            end => key >= self.key && key < end,
        }
    }
}

/// Each key's versions, oldest first.
///
/// Invariant: no key without versions; revisions rise.
#[derive(Debug, Default)]
pub struct Index {
    keys: BTreeMap<Box<[u8]>, Vec<Version>>,
}

impl Index {
    /// Adds the newest version of a key.
    pub fn push(&mut self, key: &[u8], version: Version) {
        match self.keys.get_mut(key) {
            Some(versions) => {
                assert!(
                    versions
                        .last()
                        .is_none_or(|last| last.revision < version.revision)
                );
                versions.push(version);
            }
            None => {
                self.keys.insert(key.into(), vec![version]);
            }
        }
    }

    /// Takes the newest version of a key back, which must be at `revision`.
    pub fn pop(&mut self, key: &[u8], revision: Revision) -> Version {
        let versions = self
            .keys
            .get_mut(key)
            .expect("only what was pushed is popped");
        let version = versions.pop().expect("no key is without versions");
        assert_eq!(version.revision, revision, "the newest version is popped");
        if versions.is_empty() {
            self.keys.remove(key);
        }
        version
    }

    /// The version of `key` that is in force at `revision`, unless it is deleted then.
    pub fn at(&self, key: &[u8], revision: i64) -> Option<Version> {
        in_force(self.keys.get(key)?, revision)
    }

    /// All keys of a range that exist at `revision`, in order.
    pub fn range<'a>(
        &'a self,
        range: KeyRange<'_>,
        revision: i64,
    ) -> impl Iterator<Item = (&'a [u8], Version)> {
        // The map panics on bounds that are the wrong way round.
        let bounds = (!range.is_empty()).then_some((Bound::Included(range.key), range.upto()));
        bounds
            .map(|bounds| self.keys.range::<[u8], _>(bounds))
            .into_iter()
            .flatten()
            .filter_map(move |(key, versions)| Some((&key[..], in_force(versions, revision)?)))
    }

    /// The versions that a read between the revisions can see, in the order of their keys.
    pub fn visible(&self, from: i64, upto: i64) -> impl Iterator<Item = Revision> {
        self.keys.values().flat_map(move |versions| {
            let seen = &versions[obsolete(versions, from)..known_at(versions, upto)];
            seen.iter().map(|version| version.revision)
        })
    }

    /// Drops what no read at or above `revision` can see, in the next `keys_max` keys after `after`: for each key all
    /// but its newest version up to `revision`, and that as well if it is a tombstone. Hands what it drops to
    /// `dropped`, and returns the last key looked at, or `None` at the end.
    pub fn compact(
        &mut self,
        revision: i64,
        after: Option<&[u8]>,
        keys_max: usize,
        mut dropped: impl FnMut(&Version),
    ) -> Option<Box<[u8]>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut emptied = Vec::new();
        let mut last = None;
        let mut looked_at = 0;
        for (key, versions) in self.keys.range_mut::<[u8], _>((from, Bound::Unbounded)) {
            if looked_at == keys_max {
                break;
            }
            looked_at += 1;
            last = Some(key);
            let obsolete = obsolete(versions, revision);
            versions
                .drain(..obsolete)
                .for_each(|version| dropped(&version));
            if versions.is_empty() {
                emptied.push(key.clone());
            }
        }
        let last = if looked_at == keys_max {
            last.cloned()
        } else {
            None
        };
        for key in emptied {
            self.keys.remove(&key);
        }
        last
    }
}

fn in_force(versions: &[Version], revision: i64) -> Option<Version> {
    // Nearly every read wants the newest.
    let newest = versions.last()?;
    let version = if newest.revision.main <= revision {
        newest
    } else {
        versions[..known_at(versions, revision)].last()?
    };
    (!version.is_tombstone()).then_some(*version)
}

fn known_at(versions: &[Version], revision: i64) -> usize {
    versions.partition_point(|version| version.revision.main <= revision)
}

fn obsolete(versions: &[Version], revision: i64) -> usize {
    match known_at(versions, revision) {
        0 => 0,
        known if versions[known - 1].is_tombstone() => known,
        known => known - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(main: i64, version: i64) -> Version {
        Version {
            revision: Revision { main, sub: 0 },
            bytes: 1,
            create: 0,
            version,
        }
    }

    fn index(versions: &[(&str, i64, i64)]) -> Index {
        let mut index = Index::default();
        for (key, main, number) in versions {
            index.push(key.as_bytes(), version(*main, *number));
        }
        index
    }

    fn keys(index: &Index, key: &str, end: &str, revision: i64) -> Vec<(String, i64)> {
        let range = KeyRange {
            key: key.as_bytes(),
            end: end.as_bytes(),
        };
        index
            .range(range, revision)
            .map(|(key, version)| {
                (
                    String::from_utf8_lossy(key).into_owned(),
                    version.revision.main,
                )
            })
            .collect()
    }

    #[test]
    fn ranges_are_etcds() {
        let index = index(&[("a", 2, 1), ("b", 3, 1), ("c", 4, 1)]);
        assert_eq!(keys(&index, "b", "", 9), [("b".into(), 3)]);
        assert_eq!(
            keys(&index, "b", "\0", 9),
            [("b".into(), 3), ("c".into(), 4)]
        );
        assert_eq!(keys(&index, "\0", "\0", 9).len(), 3);
        assert_eq!(keys(&index, "a", "c", 9).len(), 2);
        assert_eq!(keys(&index, "c", "a", 9), []);
        assert_eq!(keys(&index, "a", "\0", 2), [("a".into(), 2)]);
    }

    #[test]
    fn compaction_keeps_the_newest_version_up_to_the_revision() {
        let history = [
            ("a", 2, 1),
            ("b", 3, 1),
            ("a", 4, 2),
            ("b", 5, 0),
            ("a", 6, 3),
            ("c", 7, 1),
        ];
        for revision in 1..=8 {
            let untouched = index(&history);
            let mut compacted = index(&history);
            let mut dropped = 0;
            let mut after: Option<Box<[u8]>> = None;
            loop {
                after = compacted.compact(revision, after.as_deref(), 1, |_| dropped += 1);
                if after.is_none() {
                    break;
                }
            }
            for read in revision..=8 {
                assert_eq!(
                    keys(&compacted, "a", "\0", read),
                    keys(&untouched, "a", "\0", read)
                );
            }
            let expected = [0, 0, 0, 1, 3, 4, 4, 4][revision as usize - 1];
            assert_eq!(dropped, expected, "compacted at {revision}");
        }
    }
}
