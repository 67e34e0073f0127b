//! What befalls the cluster.

use little_raft_core::{Change, Input, Membership, Proposal, ReplicaId, Role};

use crate::checks::Violation;
use crate::mix::Fault;
use crate::node::{CHANGE, address};
use crate::weather::{MILLI, draw_timing};
use crate::world::World;

impl World {
    /// One fault, if it is the time for faults.
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        if !self.is_rough {
            return self.fault_among_the_broken();
        }
        if self.weather.faults.is_empty() {
            return Ok(());
        }
        let fault = self.random.pick(&self.weather.faults);
        let count = self.nodes.len() as u64;
        let one = self.random.below(count) as usize;
        let leader = self.leader().unwrap_or(one);
        let until = self.now + self.some_time();
        self.journal
            .note(self.now, format_args!("fault {fault:?} {}", one + 1));
        match fault {
            Fault::CrashOne => self.crash_for_a_while(one),
            Fault::CrashLeader => self.crash_for_a_while(leader),
            Fault::CrashAll => (0..self.nodes.len()).for_each(|at| self.crash_for_a_while(at)),
            Fault::IsolateOne => self.isolate(one),
            Fault::IsolateLeader => self.isolate(leader),
            Fault::Split => self.split(),
            Fault::OneWay => self.cut_one_way(one),
            Fault::Bridge => self.leave_a_bridge(one),
            Fault::Heal => self.network.heal(),
            Fault::Pause => self.nodes[one].paused_until = until,
            Fault::PauseLeader => self.nodes[leader].paused_until = until,
            Fault::SlowDisk => self.nodes[one].slow_disk_until = until,
            Fault::StuckDisk => self.nodes[one].stuck_disk_until = until,
            Fault::SlowApply => self.nodes[one].slow_apply_until = until,
            Fault::FullDisk => {
                let accepting = self.random.chance(500);
                self.input_if_awake(one, Input::Accepting(accepting))?;
            }
            Fault::Transfer => {
                let to = self.random.chance(700).then_some(ReplicaId(one as u64 + 1));
                self.input_if_awake(leader, Input::Transfer { to })?;
            }
            Fault::Timing => {
                self.weather.timing = draw_timing(&mut self.random);
                self.set_timing()?;
            }
            Fault::Members => self.change_members(leader)?,
            Fault::Storm => self.network.storm_until = until,
        }
        if !matches!(fault, Fault::Heal) && self.random.chance(300) {
            self.network.heal();
        }
        Ok(())
    }

    fn crash_for_a_while(&mut self, at: usize) {
        let down = self.random.below(self.weather.down_max);
        self.crash(at, down);
    }

    fn input_if_awake(&mut self, at: usize, input: Input) -> Result<(), Violation> {
        let node = &self.nodes[at];
        if node.raft().is_none() || self.now < node.paused_until {
            return Ok(());
        }
        self.input(at, input)
    }

    pub(crate) fn set_timing(&mut self) -> Result<(), Violation> {
        let timing = self.weather.timing;
        (0..self.nodes.len()).try_for_each(|at| self.input_if_awake(at, Input::SetTiming(timing)))
    }

    /// Somebody joins, leaves, or gets another part; or several of that at once.
    fn change_members(&mut self, leader: usize) -> Result<(), Violation> {
        let Some(raft) = self.nodes[leader].raft() else {
            return Ok(());
        };
        let membership = raft.membership().clone();
        let count = self.random.pick(&[1, 1, 1, 2, 3]);
        let changes: Vec<Change> = (0..count).map(|_| self.change(&membership)).collect();
        self.journal.note(self.now, format_args!("{changes:?}"));
        let proposal = Proposal::changes(&changes);
        let ticket = CHANGE;
        self.input_if_awake(leader, Input::Propose { ticket, proposal })
    }

    fn change(&mut self, membership: &Membership) -> Change {
        let one = self.random.between(1, self.nodes.len() as u64);
        let id = ReplicaId(one);
        let role = self.random.pick(&[Role::Voter, Role::Voter, Role::Learner]);
        if membership.member(id).is_none() {
            return Change::Add {
                id,
                address: address(one),
                role,
                priority: 0,
            };
        }
        match self.random.below(7) {
            6 => Change::SetTiming(draw_timing(&mut self.random)),
            0..3 => Change::Remove(id),
            3 | 4 => Change::SetRole(id, role),
            _ => Change::SetPriority(id, self.random.below(3) as u32),
        }
    }

    fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    pub(crate) fn isolate(&mut self, at: usize) {
        let one = at as u64 + 1;
        for other in self.ids() {
            self.network.cut(one, other);
            self.network.cut(other, one);
        }
    }

    fn split(&mut self) {
        let side: Vec<bool> = self.ids().map(|_| self.random.chance(500)).collect();
        for from in self.ids() {
            for to in self.ids() {
                if side[from as usize - 1] != side[to as usize - 1] {
                    self.network.cut(from, to);
                }
            }
        }
    }

    fn cut_one_way(&mut self, at: usize) {
        let one = at as u64 + 1;
        let is_deaf = self.random.chance(500);
        for other in self.ids() {
            if self.random.chance(600) {
                let (from, to) = if is_deaf { (other, one) } else { (one, other) };
                self.network.cut(from, to);
            }
        }
    }

    /// Nobody hears anybody but one, who hears all.
    fn leave_a_bridge(&mut self, at: usize) {
        let one = at as u64 + 1;
        for from in self.ids() {
            for to in self.ids() {
                if from != one && to != one {
                    self.network.cut(from, to);
                }
            }
        }
    }

    /// While the others must work, some go on suffering.
    fn fault_among_the_broken(&mut self) -> Result<(), Violation> {
        let broken: Vec<u64> = self.broken.iter().copied().collect();
        if broken.is_empty() {
            return Ok(());
        }
        let one = self.random.pick(&broken);
        let (at, until) = (one as usize - 1, self.now + self.some_time());
        match self.random.below(6) {
            0 => self.crash_for_a_while(at),
            1 => self.nodes[at].paused_until = until,
            2 => self.nodes[at].slow_disk_until = until,
            3 => {
                for other in self.ids() {
                    self.network.mend(one, other);
                    self.network.mend(other, one);
                }
            }
            4 => self.cut_one_way(at),
            _ => self.isolate(at),
        }
        Ok(())
    }

    /// Mends all that is broken, except around the broken replicas.
    pub(crate) fn calm(&mut self) -> Result<(), Violation> {
        self.is_rough = false;
        self.weather.calm();
        self.weather.fault_every = 100 * MILLI;
        for from in self.ids() {
            for to in self.ids() {
                if !self.broken.contains(&from) && !self.broken.contains(&to) {
                    self.network.mend(from, to);
                }
            }
        }
        self.network.storm_until = 0;
        for at in 0..self.nodes.len() {
            if self.broken.contains(&(at as u64 + 1)) {
                continue;
            }
            let node = &mut self.nodes[at];
            node.paused_until = self.now;
            node.slow_disk_until = 0;
            node.stuck_disk_until = 0;
            node.slow_apply_until = 0;
        }
        self.start_all()?;
        for at in 0..self.nodes.len() {
            if !self.broken.contains(&(at as u64 + 1)) {
                self.input(at, Input::Accepting(true))?;
            }
        }
        self.set_timing()
    }
}
