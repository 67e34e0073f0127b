//! Waits that end at a time of their own, whatever becomes of the proposal.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pending::Limit;

/// So few are not worth looking for those that are over.
const PRUNE_COUNT_MIN: usize = 64;

/// By their deadlines, and in the order of their coming.
#[derive(Default)]
pub(crate) struct Limits {
    waits: BTreeMap<(u64, u64), Arc<dyn Limit>>,
    count: u64,
    /// So many were left when those that were over were dropped.
    pruned: usize,
}

impl Limits {
    /// This wait ends at `deadline` at the latest.
    pub(crate) fn add(&mut self, deadline: u64, wait: Arc<dyn Limit>) {
        if self.waits.len() >= 2 * self.pruned.max(PRUNE_COUNT_MIN) {
            self.waits.retain(|_, wait| !wait.is_over());
            self.pruned = self.waits.len();
        }
        self.count += 1;
        self.waits.insert((deadline, self.count), wait);
    }

    /// The earliest; `u64::MAX` if there is none.
    pub(crate) fn deadline(&self) -> u64 {
        let first = self.waits.first_key_value();
        first.map_or(u64::MAX, |((deadline, _), _)| *deadline)
    }

    /// Takes out those whose time is over.
    pub(crate) fn due(&mut self, now: u64, due: &mut Vec<Arc<dyn Limit>>) {
        if self.deadline() <= now {
            let later = self.waits.split_off(&(now + 1, 0));
            due.extend(std::mem::replace(&mut self.waits, later).into_values());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProposeError;
    use crate::pending::Answer;

    #[test]
    fn waits_that_are_over_take_no_room() {
        let mut limits = Limits::default();
        let (open, _pending) = Answer::<u8, ProposeError>::new();
        limits.add(7, open.limit().expect("it is open"));
        for deadline in 10..10_000 {
            let (answer, pending) = Answer::<u8, ProposeError>::new();
            limits.add(deadline, answer.limit().expect("it is open"));
            answer.send(Ok(1));
            assert_eq!(pending.wait(), Ok(1));
            assert!(limits.waits.len() <= 2 * PRUNE_COUNT_MIN);
        }
        assert_eq!(limits.deadline(), 7);
        let mut due = Vec::new();
        limits.due(7, &mut due);
        assert_eq!(due.len(), 1);
    }
}
