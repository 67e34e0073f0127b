//! Whether an order explains all answers: Wing and Gong's search, breadth first along the history.
//!
//! The calls and ends of a history are gone through in the order of time. What may have happened so far is a set of
//! *worlds*: what the register holds, and which of the operations that have not ended took effect already. An end leaves
//! the worlds in which its operation took effect, there or just before. Worlds are kept once each, which is Lowe's
//! memoisation ("Testing for linearizability", 2017), and only as large as what runs at the same time: a history may
//! be as long as it likes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Call, Held, Operation, Violation};

/// Checks the operations on one key.
///
/// # Errors
/// If no order of them explains their answers.
pub fn check(mut history: Vec<Operation>) -> Result<(), Box<Violation>> {
    history.sort_by_key(|operation| operation.called);
    let may_matter = may_matter(&history);
    let mut search = Search::new(&history);
    for event in events(&history) {
        match event {
            Event::Call(which) if may_matter[which] => search.call(which),
            Event::Call(_) => {}
            Event::End(which) => {
                if let Err(possible) = search.end(which) {
                    return Err(Box::new(Violation {
                        key: history[which].key.clone(),
                        at: which,
                        possible,
                        history,
                    }));
                }
            }
        }
    }
    Ok(())
}

/// Checks the operations on each key by itself.
///
/// # Errors
/// Every key whose history can't have been.
pub fn check_each(history: Vec<Operation>) -> Result<(), Vec<Violation>> {
    let mut by_key: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        let key = operation.key.clone();
        by_key.entry(key).or_default().push(operation);
    }
    let violations = by_key
        .into_values()
        .filter_map(|of_key| check(of_key).err());
    let violations: Vec<Violation> = violations.map(|violation| *violation).collect();
    match violations.is_empty() {
        true => Ok(()),
        false => Err(violations),
    }
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    End(usize),
}

/// In the order of time; of what happens at the same moment calls come first, so that such operations overlap.
fn events(history: &[Operation]) -> Vec<Event> {
    let mut events = Vec::new();
    for (which, operation) in history.iter().enumerate() {
        events.push((operation.called, 0, Event::Call(which)));
        if let Some(ended) = operation.ended {
            events.push((ended.max(operation.called), 1, Event::End(which)));
        }
    }
    events.sort_by_key(|(at, order, _)| (*at, *order));
    events.into_iter().map(|(_, _, event)| event).collect()
}

/// Which operations can make a difference. One that has no known outcome, and whose value nobody found, can be left out of
/// any order that explains the others: what follows it found another's value, or replaced it unseen. That spares the
/// search all that faults left open, but for what was seen to have taken effect.
fn may_matter(history: &[Operation]) -> Vec<bool> {
    let mut seen: BTreeSet<u64> = history
        .iter()
        .filter_map(|operation| operation.found?.0)
        .collect();
    let mut may_matter: Vec<bool> = history.iter().map(|it| it.ended.is_some()).collect();
    for operation in history.iter().filter(|it| it.ended.is_some()) {
        seen.extend(compared_with(operation));
    }
    loop {
        let before = seen.len();
        for (which, operation) in history.iter().enumerate() {
            if !may_matter[which] && operation.written().is_some_and(|it| seen.contains(&it)) {
                may_matter[which] = true;
                seen.extend(compared_with(operation));
            }
        }
        if seen.len() == before {
            return may_matter;
        }
    }
}

/// A swap tells values apart even if its answer doesn't say what it found.
fn compared_with(operation: &Operation) -> Option<u64> {
    match operation.call {
        Call::Swap { expected, .. } => expected.0,
        Call::Get | Call::Put { .. } => None,
    }
}

/// What may have happened so far.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    held: Held,
    /// Those of the pending that took effect, in rising order.
    done: Vec<usize>,
}

impl World {
    fn has_done(&self, which: usize) -> bool {
        self.done.binary_search(&which).is_ok()
    }

    /// The world in which this took effect next, if its answer allows that.
    fn after(&self, which: usize, operation: &Operation) -> Option<Self> {
        let held = operation.step(self.held)?;
        let mut done = self.done.clone();
        let place = done
            .binary_search(&which)
            .expect_err("it takes effect once");
        done.insert(place, which);
        Some(Self { held, done })
    }

    fn without(mut self, forgotten: &BTreeSet<usize>) -> Self {
        self.done.retain(|which| !forgotten.contains(which));
        self
    }
}

struct Search<'a> {
    history: &'a [Operation],
    /// Called, and neither ended nor done in all worlds.
    pending: BTreeSet<usize>,
    /// Never empty.
    worlds: BTreeSet<World>,
}

impl<'a> Search<'a> {
    fn new(history: &'a [Operation]) -> Self {
        let first = World {
            held: Held(None),
            done: Vec::new(),
        };
        Self {
            history,
            pending: BTreeSet::new(),
            worlds: BTreeSet::from([first]),
        }
    }

    fn call(&mut self, which: usize) {
        self.pending.insert(which);
    }

    /// Leaves the worlds in which it took effect; what the register may have held if there is none.
    fn end(&mut self, which: usize) -> Result<(), Vec<Held>> {
        if !self.pending.contains(&which) {
            // It took effect in all worlds before.
            return Ok(());
        }
        let worlds = self.worlds_with(which);
        if worlds.is_empty() {
            let possible: BTreeSet<Held> = self.worlds.iter().map(|world| world.held).collect();
            return Err(possible.into_iter().collect());
        }
        self.worlds = worlds;
        self.forget_what_all_have_done();
        Ok(())
    }

    /// Others take effect only if it needs them before it: later they still can.
    fn worlds_with(&self, which: usize) -> BTreeSet<World> {
        let mut with = BTreeSet::new();
        let mut looked_at: BTreeSet<World> = self.worlds.clone();
        let mut unfinished: Vec<World> = self.worlds.iter().cloned().collect();
        while let Some(world) = unfinished.pop() {
            if world.has_done(which) {
                with.insert(world);
                continue;
            }
            let pending = self.pending.iter().filter(|it| !world.has_done(**it));
            for next in pending.filter_map(|it| world.after(*it, &self.history[*it])) {
                if looked_at.insert(next.clone()) {
                    unfinished.push(next);
                }
            }
        }
        with
    }

    /// Whatever took effect in every world needs no mention: the ended one, and with it those of unknown outcome whose
    /// effect was seen.
    fn forget_what_all_have_done(&mut self) {
        let worlds = &self.worlds;
        let in_all = |which: &usize| worlds.iter().all(|world| world.has_done(*which));
        let forgotten: BTreeSet<usize> = self.pending.iter().copied().filter(in_all).collect();
        self.pending.retain(|which| !forgotten.contains(which));
        let worlds = std::mem::take(&mut self.worlds).into_iter();
        self.worlds = worlds.map(|world| world.without(&forgotten)).collect();
    }
}
