//! What one group's records amount to, the newest superseding the older; the same lines in appending and recovery.

use std::collections::VecDeque;

use little_raft_core::{Base, Entry, EntryKind, HardState, Position};

/// Bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Where some consecutive entries stand. After a cut, `span` may reach beyond the `count` entries that still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) span: Span,
}

impl Run {
    pub(crate) fn last(&self) -> u64 {
        self.first + self.count - 1
    }
}

/// One group's state. Invariants: `terms` rises in index and differs in term from run to run, all above the base and at
/// most `last`; `runs` are consecutive, end at `last`, and reach down at least to the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) hard_state: HardState,
    pub(crate) base: Base,
    pub(crate) terms: Vec<Position>,
    pub(crate) last: u64,
    /// The entries that are memberships, above the base.
    pub(crate) memberships: Vec<Entry>,
    pub(crate) runs: VecDeque<Run>,
}

impl Group {
    /// The term of the entry at `index`, if this log has it or begins there.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.position.index {
            return Some(self.base.position.term);
        }
        if index < self.base.position.index || index > self.last {
            return None;
        }
        let after = self.terms.partition_point(|first| first.index <= index);
        Some(self.terms[after.checked_sub(1)?].term)
    }

    /// Begins the log at `base`. An entry there with the same term keeps what follows it; else all goes. A base below
    /// the present one changes nothing: what was dropped does not come back.
    fn rebase(&mut self, base: &Base) {
        let Position { index, term } = base.position;
        if index < self.base.position.index {
            return;
        }
        if self.term_at(index) == Some(term) {
            self.drop_head(index);
        } else {
            self.terms.clear();
            self.runs.clear();
            self.memberships.clear();
            self.last = index;
        }
        self.base = base.clone();
    }

    fn drop_head(&mut self, index: u64) {
        self.memberships
            .retain(|entry| entry.position.index > index);
        let next = self.term_at(index + 1);
        self.terms.retain(|first| first.index > index + 1);
        if let Some(term) = next {
            self.terms.insert(0, Position::new(index + 1, term));
        }
        while self.runs.front().is_some_and(|run| run.last() <= index) {
            self.runs.pop_front();
        }
    }

    /// Whether these entries are consecutive and follow without a gap.
    pub(crate) fn takes(&self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first().map(|entry| entry.position.index) else {
            return true;
        };
        let mut expected = first..;
        first > self.base.position.index
            && first <= self.last + 1
            && entries
                .iter()
                .all(|entry| expected.next() == Some(entry.position.index))
    }

    /// Whether they do so once this base is taken over.
    pub(crate) fn takes_after(&self, base: Option<&Base>, entries: &[Entry]) -> bool {
        let mut draft = self.draft();
        if let Some(base) = base {
            draft.rebase(base);
        }
        draft.takes(entries)
    }

    /// The state without the places of entries, to try writes on.
    pub(crate) fn draft(&self) -> Self {
        Self {
            hard_state: self.hard_state,
            base: self.base.clone(),
            terms: self.terms.clone(),
            last: self.last,
            memberships: self.memberships.clone(),
            runs: VecDeque::new(),
        }
    }

    /// Takes over a write whose entries are in `runs`.
    pub(crate) fn apply(
        &mut self,
        hard_state: HardState,
        base: Option<&Base>,
        entries: &[Entry],
        runs: &[Run],
    ) {
        self.hard_state = hard_state;
        if let Some(base) = base {
            self.rebase(base);
        }
        self.supersede(entries, runs);
    }

    /// Adds consecutive entries; they supersede whatever stood at or above the first one's index.
    fn supersede(&mut self, entries: &[Entry], runs: &[Run]) {
        let Some(first) = entries.first().map(|entry| entry.position.index) else {
            return;
        };
        assert!(
            self.takes(entries),
            "entries from {first} do not follow a log from {} to {}",
            self.base.position,
            self.last
        );
        self.cut(first);
        for entry in entries {
            let open = self.terms.last().map(|run| run.term);
            if open != Some(entry.position.term) {
                self.terms.push(entry.position);
            }
            if entry.kind == EntryKind::Membership {
                self.memberships.push(entry.clone());
            }
            self.last += 1;
        }
        self.runs.extend(runs);
    }

    fn cut(&mut self, index: u64) {
        self.terms.retain(|first| first.index < index);
        self.memberships
            .retain(|entry| entry.position.index < index);
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.count = run.count.min(index - run.first);
        }
        self.last = index - 1;
    }

    /// The oldest segment that holds an entry of this group.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.span.segment)
    }

    /// Whether two states amount to the same, wherever their entries are.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.hard_state == other.hard_state
            && self.base == other.base
            && self.terms == other.terms
            && self.last == other.last
    }
}
