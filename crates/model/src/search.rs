//! Walks through all states, and says how many there were.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::action::Action;
use crate::model::Cluster;
use crate::properties::is_invariant;

/// What a walk came to.
#[derive(Clone, Debug)]
pub struct Search {
    /// States, each as often as it was reached.
    pub states: usize,
    /// States, each once.
    pub unique: usize,
    /// The most that happened on the way to one of them.
    pub depth: usize,
    /// How long it took.
    pub wall: Duration,
    /// Whether there are no others.
    pub is_whole: bool,
    /// The invariant that does not hold, and what happened.
    pub broken: Option<(&'static str, Vec<Action>)>,
    /// What must be reached for the walk to mean something, and was.
    pub reached: Vec<&'static str>,
}

/// Walks through all states, the nearest first, until something is broken or this much time has passed.
pub fn search(cluster: Cluster, threads: usize, limit: Duration) -> Search {
    let began = Instant::now();
    let checker = cluster.checker().threads(threads).timeout(limit);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let wall = began.elapsed();
    let seen = checker.discoveries().into_iter();
    let seen = seen.map(|(name, path)| (name, path.into_actions()));
    let (broken, reached): (Vec<_>, Vec<_>) = seen.partition(|(name, _)| is_invariant(name));
    // What broke first, if several did before it was noticed.
    let broken = broken
        .into_iter()
        .min_by_key(|(name, path)| (path.len(), *name));
    let mut reached: Vec<&str> = reached.into_iter().map(|(name, _)| name).collect();
    reached.sort_unstable();
    Search {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        wall,
        is_whole: broken.is_none() && wall < limit,
        broken,
        reached,
    }
}
