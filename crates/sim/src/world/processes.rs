//! Processes: they start, crash, stop for a while and go on.

use super::World;
use super::planned::Happening;
use crate::checks::Violation;
use crate::mix::Fault;
use crate::node::Effects;
use crate::weather::MILLI;

impl World {
    /// Starts what is down.
    pub(crate) fn start_all(&mut self) -> Result<(), Violation> {
        (0..self.nodes.len()).try_for_each(|at| self.restart(at))
    }

    pub(super) fn restart(&mut self, at: usize) -> Result<(), Violation> {
        if self.nodes[at].raft().is_some() {
            return Ok(());
        }
        self.journal
            .note(self.now, format_args!("{} starts", at + 1));
        self.wakes[at] = u64::MAX;
        let mut effects = Effects::default();
        self.nodes[at].start(self.now, &mut self.random, &self.weather, &mut effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.started(self.now, at as u64 + 1, self.nodes[at].boot);
        }
        self.finish(at, effects)
    }

    pub(crate) fn crash(&mut self, at: usize, down: u64) {
        if self.nodes[at].raft().is_none() {
            return;
        }
        self.journal
            .note(self.now, format_args!("{} crashes", at + 1));
        let pending = self.nodes[at].disk.pending();
        let lost = self.nodes[at].crash(&mut self.random);
        if let Some(recorder) = &mut self.recorder {
            recorder.flushed(self.now, at as u64 + 1, pending - lost);
            recorder.crashed(self.now, at as u64 + 1);
        }
        let is_last = self.nodes.iter().all(|node| node.raft().is_none());
        self.checks.observer.crashed(&self.nodes[at], lost, is_last);
        self.piled_up[at].clear();
        self.checks.operations.lost(at as u64 + 1);
        self.plan(down, Happening::Restart { at: at as u64 });
    }

    /// The whole process stops for a while.
    pub(crate) fn pause(&mut self, at: usize, until: u64) {
        self.nodes[at].paused_until = until;
        self.plan(until - self.now, Happening::Resume { at: at as u64 });
    }

    /// Its machine sleeps about as long as promises last: what had reached it waits there, and soon nothing more does.
    pub(crate) fn suspend(&mut self, at: usize) {
        let election = self.weather.timing.election.as_nanos() as u64;
        let asleep = self.random.between(election, 3 * election);
        let reachable = self.random.below(20 * MILLI);
        self.pause(at, self.now + asleep);
        self.plan(reachable, Happening::CutOff { at: at as u64 });
    }

    /// What piled up is taken by many threads, one for each peer: in any order, or one peer's after another's.
    pub(super) fn resume(&mut self, at: usize) {
        if self.now < self.nodes[at].paused_until {
            return;
        }
        if self.weather.faults.contains(&Fault::SuspendLeader) && !self.is_idle {
            self.rush_to(at);
        }
        let in_turn = self.random.chance(500);
        let begins: Vec<u64> = (0..=self.nodes.len())
            .map(|_| self.random.below(2 * MILLI))
            .collect();
        for what in std::mem::take(&mut self.piled_up[at]) {
            let after = match &what {
                Happening::Arrives { from, .. } if in_turn => begins[*from as usize],
                Happening::Asked { .. } if in_turn => begins[0],
                _ => self.random.below(2 * MILLI),
            };
            self.plan(after, what);
        }
    }
}
