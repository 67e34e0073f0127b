//! What all replicas have applied, seen from outside: they must agree on every command, its answer and what it left.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checks::Violation;

/// Where a command stands: the entry's index, and which of that entry's commands it is.
pub(super) type Place = (u64, u32);

/// One command that was applied somewhere.
#[derive(Debug)]
struct Applied {
    tag: u64,
    response: String,
    digest: Option<u64>,
    /// Who applied it first.
    by: u64,
}

/// Of one run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    applied: BTreeMap<Place, Applied>,
    places: BTreeMap<u64, Place>,
    pub(super) violation: Option<Violation>,
}

/// The one that all write into.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// To look into it, or write.
    pub(super) fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// A replica applied a command.
    pub(super) fn record(
        &mut self,
        by: u64,
        place: Place,
        tag: u64,
        response: String,
        digest: Option<u64>,
    ) {
        let new = Applied {
            tag,
            response,
            digest,
            by,
        };
        match self.applied.get(&place) {
            Some(known) => {
                if let Some(what) = known.contradicts(&new) {
                    self.violate("state machine safety", format!("at {place:?}: {what}"));
                }
            }
            None => {
                if let Some(before) = self.places.insert(tag, place) {
                    let text = format!("command {tag} at {before:?}, and again at {place:?}");
                    self.violate("applied once", text);
                }
                self.applied.insert(place, new);
            }
        }
    }

    /// A replica was restored from a snapshot and is about to apply what stands at `next`.
    pub(super) fn compare(&mut self, by: u64, next: Place, digest: Option<u64>) {
        let before = self.applied.range(..next).next_back();
        let Some((place, known)) = before else {
            return;
        };
        let differs = matches!((known.digest, digest), (Some(known), Some(own)) if known != own);
        if differs {
            let text = format!(
                "replica {by} was restored from a snapshot, and its state is not what replica {} had after {place:?}: \
                 the snapshot forgets something, or restoring does",
                known.by
            );
            self.violate("snapshots are whole", text);
        }
    }

    /// Where a command was applied, and what it was answered.
    pub(super) fn find(&self, tag: u64) -> Option<(u64, &str)> {
        let place = self.places.get(&tag)?;
        Some((place.0, &self.applied.get(place)?.response))
    }

    /// The first is what counts.
    pub(super) fn violate(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }
}

impl Applied {
    fn contradicts(&self, new: &Self) -> Option<String> {
        let mut text = String::new();
        let (first, second) = (self.by, new.by);
        if self.tag != new.tag {
            let _ = write!(
                text,
                "replica {first} applied command {}, and replica {second} command {}",
                self.tag, new.tag
            );
        } else if self.response != new.response {
            let _ = write!(
                text,
                "replica {first} answered command {} with {}, and replica {second} with {}: the state machine is not \
                 deterministic, or a snapshot forgets something",
                self.tag, self.response, new.response
            );
        } else if self.digest.and(new.digest).is_some() && self.digest != new.digest {
            let _ = write!(
                text,
                "after command {} the states of replicas {first} and {second} differ: the state machine is not \
                 deterministic, or a snapshot forgets something",
                self.tag
            );
        }
        (!text.is_empty()).then_some(text)
    }
}
