//! All replicas and what is between them, at one moment.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use little_raft_core::ReplicaId;

use crate::bounds::Bounds;
use crate::known::{Broken, Known};
use crate::letter::Letter;
use crate::replica::Replica;

/// All replicas and what is between them. Two that behave alike, and may go on as far, are equal.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) now: u64,
    /// Each with its fingerprint.
    pub(crate) replicas: [(Arc<Replica>, u64); 3],
    /// What is on the links, one after another; on each the oldest first.
    pub(crate) letters: Vec<Letter>,
    /// What is held up.
    pub(crate) stragglers: Vec<Letter>,
    pub(crate) known: Arc<Known>,
    /// How much may still happen.
    pub(crate) left: Bounds,
    /// Nothing happens after that.
    pub(crate) broken: Option<Broken>,
}

impl State {
    pub(crate) fn place(id: ReplicaId) -> usize {
        id.0 as usize - 1
    }

    pub(crate) fn replica(&self, id: ReplicaId) -> &Replica {
        &self.replicas[Self::place(id)].0
    }

    /// The oldest message of each link.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Letter> {
        let links = self
            .letters
            .chunk_by(|one, other| one.link() == other.link());
        links.filter_map(|link| link.first())
    }

    /// Takes a message off its link.
    pub(crate) fn take_off(&mut self, letter: &Letter) {
        let place = self
            .letters
            .iter()
            .position(|it| it.link() == letter.link());
        self.letters.remove(place.expect("it is on its link"));
    }

    /// Whatever is on its way from or to this one is lost.
    pub(crate) fn cut_off(&mut self, id: ReplicaId) {
        self.letters.retain(|letter| {
            let (from, to) = letter.link();
            from != id && to != id
        });
    }

    /// Brings into order whatever has none that matters.
    pub(crate) fn tidy(&mut self) {
        let now = self.now;
        self.letters.sort_by_key(Letter::link);
        self.stragglers.sort_by_key(|letter| letter.key(now));
    }

    fn key(&self) -> (impl Iterator<Item = u64>, impl Iterator<Item = (u64, u64)>) {
        let replicas = self.replicas.iter().map(|(_, fingerprint)| *fingerprint);
        let letters = self.letters.iter().chain(&self.stragglers);
        let letters = letters.map(|letter| letter.key(self.now));
        (replicas, letters)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.key(), other.key());
        self.stragglers.len() == other.stragglers.len()
            && ours.0.eq(theirs.0)
            && ours.1.eq(theirs.1)
            && (&self.known, self.left, self.broken) == (&other.known, other.left, other.broken)
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (replicas, letters) = self.key();
        replicas.for_each(|it| it.hash(state));
        letters.for_each(|it| it.hash(state));
        (self.stragglers.len(), &self.known, self.left, self.broken).hash(state);
    }
}
