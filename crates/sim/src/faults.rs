//! What befalls the cluster.

use little_raft_core::{Change, Input, Membership, Proposal, ReplicaId, Role};

use crate::checks::Violation;
use crate::mix::Fault;
use crate::node::{CHANGE, address};
use crate::weather::{HOUR, MILLI, Weather, draw_timing};
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
        if self.random.chance(self.weather.mending) {
            self.network.heal();
            self.make_room()?;
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
            Fault::CrashAll => self.cut_power(),
            Fault::IsolateOne => self.isolate(one),
            Fault::IsolateLeader => self.isolate(leader),
            Fault::StrandLeaders => self.strand_leaders(until),
            Fault::Split => self.split(),
            Fault::OneWay => self.cut_one_way(one),
            Fault::Bridge => self.leave_a_bridge(one),
            Fault::Heal => self.network.heal(),
            Fault::Pause => self.pause(one, until),
            Fault::PauseLeader => self.pause(leader, until),
            Fault::SuspendLeader => self.suspend(leader),
            Fault::SlowDisk => self.nodes[one].slow_disk_until = until,
            Fault::StuckDisk => self.nodes[one].stuck_disk_until = until,
            Fault::SlowApply => self.nodes[one].slow_apply_until = until,
            Fault::FullDisk => {
                self.nodes[one].is_full = true;
                self.input_if_awake(one, Input::Accepting(false))?;
            }
            Fault::Transfer => {
                let to = self.random.chance(700).then_some(ReplicaId(one as u64 + 1));
                self.input_if_awake(leader, Input::Transfer { to })?;
            }
            Fault::Timing => {
                self.weather.timing = draw_timing(&mut self.random);
                self.set_timing()?;
            }
            Fault::Members => self.change_members()?,
            Fault::Storm => self.network.storm_until = until,
            Fault::SlowLinks => self.slow_links(),
            Fault::Topple => {
                self.network.heal();
                self.crash_for_a_while(leader);
            }
            Fault::WallClock => self.nodes[one].wall_offset = self.random.below(2 * HOUR),
        }
        // Operators don't wait for calm.
        if self.weather.faults.contains(&Fault::Members) && self.random.chance(400) {
            self.change_members()?;
        }
        Ok(())
    }

    fn crash_for_a_while(&mut self, at: usize) {
        let down = self.random.below(self.weather.down_max);
        self.crash(at, down);
    }

    /// The power comes back everywhere at once, or it takes each its time to start.
    fn cut_power(&mut self) {
        let down = self.random.below(self.weather.down_max);
        let is_together = self.weather.is_symmetric || self.random.chance(300);
        for at in 0..self.nodes.len() {
            match is_together {
                true => self.crash(at, down),
                false => self.crash_for_a_while(at),
            }
        }
    }

    fn slow_links(&mut self) {
        let delay = self.random.pick(&[20, 100, 400]) * MILLI;
        let bytes_per_second = self.random.pick(&[10_000, 100_000, 1 << 40]);
        for from in self.ids() {
            for to in self.ids() {
                if self.random.chance(300) {
                    self.network.slow_down((from, to), delay, bytes_per_second);
                }
            }
        }
    }

    fn make_room(&mut self) -> Result<(), Violation> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_full && !self.is_broken(at) {
                self.nodes[at].is_full = false;
                self.input(at, Input::Accepting(true))?;
            }
        }
        Ok(())
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
    fn change_members(&mut self) -> Result<(), Violation> {
        let leader = self.whom_to_ask();
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
                witness: self.nodes[one as usize - 1].is_witness,
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

    /// Leaders are cut off one after another.
    pub(crate) fn strand_leaders(&mut self, until: u64) {
        self.network.strand_until = until;
        if let Some(leader) = self.leader() {
            self.isolate(leader);
        }
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
            1 => self.pause(at, until),
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

    /// After a calm, rough again as it was before.
    pub(crate) fn roughen(&mut self, weather: Weather) {
        let timing = self.weather.timing;
        self.weather = weather;
        self.weather.timing = timing;
        (self.is_rough, self.is_idle) = (true, false);
    }

    pub(crate) fn is_broken(&self, at: usize) -> bool {
        self.broken.contains(&(at as u64 + 1))
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
        (self.network.storm_until, self.network.strand_until) = (0, 0);
        for at in 0..self.nodes.len() {
            if self.is_broken(at) {
                continue;
            }
            self.pause(at, self.now);
            let node = &mut self.nodes[at];
            node.slow_disk_until = 0;
            node.stuck_disk_until = 0;
            node.slow_apply_until = 0;
        }
        self.start_all()?;
        self.make_room()?;
        self.set_timing()
    }
}
