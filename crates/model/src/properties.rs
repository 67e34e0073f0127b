//! What must always hold, and what must be reached for that to mean something.

use stateright::{Expectation, Property};

use crate::known::Broken;
use crate::model::Cluster;
use crate::reads::Answered;
use crate::state::State;

pub(crate) fn properties() -> Vec<Property<Cluster>> {
    let invariants = [
        invariant::<0>(),
        invariant::<1>(),
        invariant::<2>(),
        invariant::<3>(),
        invariant::<4>(),
        invariant::<5>(),
        invariant::<6>(),
        invariant::<7>(),
        invariant::<8>(),
    ];
    let reached = [
        Property::sometimes("a leader is elected", |it: &Cluster, state: &State| {
            state.known.leaders.len() > it.leaders_at_start()
        }),
        Property::sometimes("a leader takes over from another", |_, state: &State| {
            state.known.leaders.len() > 1
        }),
        Property::sometimes("a command is committed", |_, state: &State| {
            state.known.has_command()
        }),
        Property::sometimes("two terms have committed entries", |_, state: &State| {
            state.known.committed_terms() > 1
        }),
        Property::sometimes("a change of members is complete", |_, state: &State| {
            state.known.has_change()
        }),
        Property::sometimes("a leader answers a read", |_, state: &State| {
            state.known.reads.answered.contains(&Answered::Leader)
        }),
        Property::sometimes("a lease answers a read", |_, state: &State| {
            state.known.reads.answered.contains(&Answered::Lease)
        }),
        Property::sometimes("a follower answers a read", |_, state: &State| {
            state.known.reads.answered.contains(&Answered::Follower)
        }),
        Property::sometimes("a snapshot is installed", |_, state: &State| {
            state.known.has_installed
        }),
    ];
    invariants.into_iter().chain(reached).collect()
}

/// The invariant of this number holds.
fn invariant<const NUMBER: usize>() -> Property<Cluster> {
    let (_, name) = Broken::ALL[NUMBER];
    Property::always(name, |_, state: &State| {
        state.broken != Some(Broken::ALL[NUMBER].0)
    })
}

/// Whether this property must always hold.
pub(crate) fn is_invariant(name: &str) -> bool {
    let mut all = properties().into_iter();
    all.any(|it| it.name == name && it.expectation == Expectation::Always)
}

/// What every walk through all settings must reach, to mean something.
pub fn must_be_reached() -> Vec<&'static str> {
    let all = properties().into_iter();
    let wanted = all.filter(|it| it.expectation == Expectation::Sometimes);
    wanted.map(|it| it.name).collect()
}
