//! What can happen in a state, and what it becomes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::{Input, Plant, Proposal, ReplicaId, State as Part};
use stateright::{Model, Property};

use crate::action::Action;
use crate::bounds::{Bounds, Setting};
use crate::known::{Broken, Known};
use crate::letter::Letter;
use crate::properties::properties;
use crate::replica::{Effects, Replica};
use crate::state::State;

/// Three replicas in one setting, within bounds.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where it begins.
    pub setting: Setting,
    /// How much may happen.
    pub bounds: Bounds,
    /// The bug that is planted.
    pub plant: Option<Plant>,
}

const IDS: [ReplicaId; 3] = [ReplicaId(1), ReplicaId(2), ReplicaId(3)];

impl Cluster {
    fn started(&self) -> State {
        let founders = self.setting.founders();
        let replicas = IDS.map(|id| {
            let replica = Replica::new(id, founders.clone(), self.setting.habits());
            let fingerprint = replica.fingerprint();
            (Arc::new(replica), fingerprint)
        });
        State {
            now: 0,
            replicas,
            letters: Vec::new(),
            stragglers: Vec::new(),
            known: Arc::new(Known::default()),
            left: Bounds {
                timeouts: u8::MAX,
                heartbeats: u8::MAX,
                proposals: u8::MAX,
                ..self.bounds
            },
            broken: None,
        }
    }

    /// 1 has been elected, and nothing is on its way any more.
    fn elected(&self) -> State {
        let mut state = self.started();
        let one = IDS[0];
        for _ in 0..2 {
            state = self.after(&state, Action::Timeout(one));
            while let Some(next) = self.quieter(&state) {
                state = next;
            }
        }
        assert_eq!(
            state.replica(one).raft.state(),
            Part::Leader,
            "1 is elected"
        );
        state
    }

    /// 1 is cut off with two entries that nobody else has; the others have elected 2, and have what it began with.
    fn replaced(&self) -> State {
        let [one, two, three] = IDS;
        let mut state = self.elected();
        for _ in 0..2 {
            state = self.after(&state, Action::Propose(one));
            state = self.after(&state, Action::Flush(one));
        }
        while state.replica(two).raft.state() != Part::Leader {
            state = self.after(&state, Action::Timeout(two));
            state.cut_off(one);
            while let Some(next) = self.quieter(&state) {
                state = next;
                state.cut_off(one);
            }
        }
        let [two, three] = [two, three].map(|id| &state.replica(id).raft);
        assert_eq!(two.committed(), 2, "2 has committed its first entry");
        assert_eq!(two.last(), three.last(), "3 has it");
        state
    }

    /// One message or flush further; none, if nothing is left that changes anything.
    fn quieter(&self, state: &State) -> Option<State> {
        let mut actions = deliveries(state).chain(flushes(state));
        actions.find_map(|action| self.happens(state, &action))
    }

    fn after(&self, state: &State, action: Action) -> State {
        self.happens(state, &action).expect("something happens")
    }

    pub(crate) fn leaders_at_start(&self) -> usize {
        match self.setting {
            Setting::Elections => 0,
            Setting::Replication | Setting::Members | Setting::Reads | Setting::Leases => 1,
            Setting::Snapshots => 2,
        }
    }

    fn may_time_out(&self, state: &State, id: ReplicaId) -> bool {
        let raft = &state.replica(id).raft;
        let left = match raft.state() {
            Part::Leader => state.left.heartbeats,
            _ => state.left.timeouts,
        };
        // Founders that know nothing are all alike: let the first to wake be 1.
        let is_first = state.now == 0 && self.setting == Setting::Elections;
        left > 0 && raft.deadline() < u64::MAX && !(is_first && id != IDS[0])
    }

    fn happens(&self, state: &State, action: &Action) -> Option<State> {
        Plant::plant(self.plant);
        let mut next = state.clone();
        let stepped = catch_unwind(AssertUnwindSafe(|| self.take(&mut next, action)));
        match stepped {
            Ok(Some(())) => next.tidy(),
            Ok(None) => return None,
            Err(_) => next.broken = Some(Broken::Panic),
        }
        Some(next)
    }

    /// None if nothing comes of it.
    fn take(&self, state: &mut State, action: &Action) -> Option<()> {
        match action {
            Action::Deliver(letter) => {
                state.take_off(letter);
                state.arrive(letter);
            }
            Action::HoldUp(letter) => {
                state.left.stragglers -= 1;
                state.take_off(letter);
                state.stragglers.push(letter.clone());
            }
            Action::Straggle(letter) => {
                state.stragglers.retain(|it| it != letter);
                // Whatever can happen without it can happen with it: it is as good as lost.
                state.arrive(letter).then_some(())?;
            }
            Action::Duplicate(letter) => {
                state.left.duplicates -= 1;
                state.take_off(letter);
                state.stragglers.push(letter.clone());
                state.arrive(letter);
            }
            Action::Timeout(id) => state.time_out(*id, None),
            Action::TimeoutWhileSlow(id, slow) => {
                state.time_out(*id, Some(*slow));
                state.left.slips = 0;
            }
            Action::Flush(id) => {
                state.step(*id, |it| it.flush().expect("a write under way"));
            }
            Action::Crash(id) => {
                state.left.crashes -= 1;
                let saved = state.replica(*id).saved_index();
                Arc::make_mut(&mut state.known).crashed(*id, saved);
                state.step(*id, Replica::crash);
            }
            Action::Read(id) => {
                state.left.reads -= 1;
                let ticket = state.left.reads.into();
                Arc::make_mut(&mut state.known).read(ticket, *id);
                state.step(*id, |it| it.step(Input::Read { ticket }));
            }
            Action::Compact(id) => {
                state.left.compactions -= 1;
                state.step(*id, Replica::compact);
            }
            Action::Propose(id) => {
                state.left.proposals -= 1;
                let payload = Bytes::copy_from_slice(&[state.left.proposals]);
                state.propose(*id, Proposal::command(0, payload));
            }
            Action::Change(id, which) => {
                state.left.changes -= 1;
                let changes = &self.setting.changes()[*which];
                state.propose(*id, Proposal::changes(changes));
            }
        }
        Some(())
    }
}

impl State {
    /// Lets a replica do something, and looks at what it did. True if it has said something.
    fn step(&mut self, id: ReplicaId, act: impl FnOnce(&mut Replica) -> Effects) -> bool {
        let (replica, fingerprint) = &mut self.replicas[Self::place(id)];
        let replica = Arc::make_mut(replica);
        let effects = act(replica);
        *fingerprint = replica.fingerprint();
        let known = Arc::make_mut(&mut self.known);
        let all = self.replicas.iter().map(|(replica, _)| &**replica);
        let stepped = known.stepped(&self.replicas[Self::place(id)].0, all, &effects);
        self.broken = stepped.err();
        let has_said = !effects.messages.is_empty();
        let new = effects.messages.into_iter().map(Letter::new);
        self.letters.extend(new);
        has_said
    }

    /// Whether anything comes of it.
    fn arrive(&mut self, letter: &Letter) -> bool {
        let (to, message) = (letter.message().to, letter.message().clone());
        let before = self.replicas[Self::place(to)].1;
        let has_said = self.step(to, |it| it.step(Input::Message(message)));
        has_said || self.replicas[Self::place(to)].1 != before
    }

    fn time_out(&mut self, id: ReplicaId, slow: Option<ReplicaId>) {
        let (part, wait) = (self.replica(id).raft.state(), self.replica(id).wait());
        match part {
            Part::Leader => self.left.heartbeats -= 1,
            _ => self.left.timeouts -= 1,
        }
        self.now += wait;
        for (replica, fingerprint) in &mut self.replicas {
            let is_slow = slow == Some(replica.id());
            let lost = if is_slow { self.left.slips.into() } else { 0 };
            // The others notice the time as soon as anything happens to them.
            *fingerprint = Arc::make_mut(replica).noticing(wait.saturating_sub(lost));
        }
        self.step(id, |it| it.step(Input::Wake));
    }

    fn propose(&mut self, id: ReplicaId, proposal: Proposal) {
        let input = Input::Propose {
            ticket: 0,
            proposal,
        };
        self.step(id, |it| it.step(input));
    }
}

fn deliveries(state: &State) -> impl Iterator<Item = Action> {
    state.heads().cloned().map(Action::Deliver)
}

fn flushes(state: &State) -> impl Iterator<Item = Action> {
    let flushing = IDS
        .into_iter()
        .filter(|id| state.replica(*id).is_flushing());
    flushing.map(Action::Flush)
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        Plant::plant(self.plant);
        let state = match self.setting {
            Setting::Elections => self.started(),
            Setting::Snapshots => self.replaced(),
            _ => self.elected(),
        };
        vec![State {
            left: self.bounds,
            ..state
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let left = &state.left;
        actions.extend(deliveries(state));
        actions.extend(state.stragglers.iter().cloned().map(Action::Straggle));
        actions.extend(flushes(state));
        if left.duplicates > 0 {
            actions.extend(state.heads().cloned().map(Action::Duplicate));
        }
        if left.stragglers > 0 {
            actions.extend(state.heads().cloned().map(Action::HoldUp));
        }
        for id in IDS {
            if self.may_time_out(state, id) {
                actions.push(Action::Timeout(id));
            }
            if self.may_time_out(state, id) && left.slips > 0 && state.replica(id).wait() > 0 {
                let others = IDS.into_iter().filter(|it| *it != id);
                actions.extend(others.map(|slow| Action::TimeoutWhileSlow(id, slow)));
            }
            if left.reads > 0 {
                actions.push(Action::Read(id));
            }
            if left.compactions > 0 && state.replica(id).may_compact() {
                actions.push(Action::Compact(id));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(id));
            }
            let leads = state.replica(id).raft.state() == Part::Leader;
            if leads && left.proposals > 0 {
                actions.push(Action::Propose(id));
            }
            if leads && left.changes > 0 {
                let count = self.setting.changes().len();
                actions.extend((0..count).map(|which| Action::Change(id, which)));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.happens(state, &action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}
