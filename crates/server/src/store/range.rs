//! Reading: which keys a request selects, in which order, and how much of them it returns.

use std::io;

use bytes::Bytes;

use super::disk::{DiskView, Point};
use super::error::Refusal;
use super::index::{KeyRange, Version};
use super::record::Record;
use super::state::{State, stored};
use crate::proto::etcdserverpb::RangeRequest;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::mvccpb::KeyValue;

/// How far a reader sees.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The newest revision.
    pub revision: i64,
    /// The newest revision that a request may name; behind `revision` within a writing transaction.
    pub nameable: i64,
    /// Older revisions than this are gone.
    pub compacted: i64,
}

impl Horizon {
    /// What everybody sees at `point`.
    pub fn at(point: &Point) -> Self {
        Self {
            revision: point.revision,
            nameable: point.revision,
            compacted: point.compacted,
        }
    }

    /// The revision that a request for `asked` reads at; anything below 1 asks for the newest.
    pub fn resolve(self, asked: i64) -> Result<i64, Refusal> {
        if asked > self.nameable {
            return Err(Refusal::FutureRevision);
        }
        let revision = if asked <= 0 { self.revision } else { asked };
        if revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        Ok(revision)
    }
}

/// A key that a request selected; its record is at hand if it wasn't on disk yet.
struct Found {
    key: Bytes,
    version: Version,
    record: Option<Record>,
}

/// What a request selected, as of one moment; needs the lock no more.
pub struct Selection {
    found: Vec<Found>,
    count: i64,
}

/// What a request answers.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Keys with their values, as far as asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some out.
    pub more: bool,
    /// All keys in the range, whatever filters and limit say.
    pub count: i64,
}

impl Selection {
    /// Selects at the newest revision of `horizon` or the one that the request names.
    ///
    /// # Errors
    /// If the revision is compacted or in the future.
    pub fn new(state: &State, request: &RangeRequest, horizon: Horizon) -> Result<Self, Refusal> {
        let revision = horizon.resolve(request.revision)?;
        let range = KeyRange {
            key: &request.key,
            end: &request.range_end,
        };
        let wanted = wanted(request);
        let mut selection = Self {
            found: Vec::new(),
            count: 0,
        };
        for (key, version) in state.index.range(range, revision) {
            selection.count += 1;
            if selection.found.len() < wanted && passes(request, &version) {
                selection.found.push(Found {
                    key: Bytes::copy_from_slice(key),
                    version,
                    record: state.recent(version.revision).cloned(),
                });
            }
        }
        Ok(selection)
    }

    /// Sorts, cuts to the limit and reads the values.
    ///
    /// # Errors
    /// If a record can't be read or is damaged.
    pub fn page(mut self, request: &RangeRequest, view: &DiskView) -> io::Result<Page> {
        self.sort(request, view)?;
        let mut page = Page {
            count: self.count,
            ..Page::default()
        };
        let limit = limit(request);
        page.more = !request.count_only && self.found.len() > limit;
        self.found.truncate(limit);
        for found in self.found {
            page.kvs.push(found.key_value(request.keys_only, view)?);
        }
        Ok(page)
    }

    fn sort(&mut self, request: &RangeRequest, view: &DiskView) -> io::Result<()> {
        let target = SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key);
        let descending = request.sort_order == SortOrder::Descend as i32;
        if target == SortTarget::Value {
            for found in &mut self.found {
                found.record = Some(found.take_record(view)?);
            }
        }
        self.found.sort_by(|a, b| {
            let (a, b) = if descending { (b, a) } else { (a, b) };
            match target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.version.cmp(&b.version.version),
                SortTarget::Create => a.version.create.cmp(&b.version.create),
                SortTarget::Mod => a.version.revision.main.cmp(&b.version.revision.main),
                SortTarget::Value => a.value().cmp(b.value()),
            }
        });
        Ok(())
    }
}

impl Found {
    fn take_record(&mut self, view: &DiskView) -> io::Result<Record> {
        match self.record.take() {
            Some(record) => Ok(record),
            None => stored(self.version.revision, view),
        }
    }

    fn value(&self) -> &[u8] {
        self.record.as_ref().map_or(&[], |record| &record.value)
    }

    fn key_value(mut self, keys_only: bool, view: &DiskView) -> io::Result<KeyValue> {
        let mut kv = self.take_record(view)?.key_value(self.version.revision);
        if keys_only {
            kv.value = Bytes::new();
        }
        Ok(kv)
    }
}

fn limit(request: &RangeRequest) -> usize {
    match usize::try_from(request.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    }
}

/// How many keys to select: the limit helps only if selecting in key order is the answer's order. One more than it
/// tells whether there are more.
fn wanted(request: &RangeRequest) -> usize {
    if request.count_only {
        return 0;
    }
    let in_key_order = request.sort_target == SortTarget::Key as i32
        && request.sort_order != SortOrder::Descend as i32;
    if in_key_order {
        limit(request).saturating_add(1)
    } else {
        usize::MAX
    }
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(
        version.revision.main,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        version.create,
        request.min_create_revision,
        request.max_create_revision,
    )
}
