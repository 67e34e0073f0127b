//! A majority that is lost for good: its operator makes the one that is left a group of its own (`recover_group`). Here it
//! is one that had all that anybody knew of, so that nothing may be lost. Some of the lost come back, and find nobody.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use little_raft::driver::{Around, recover_group_around};
use little_raft::{Recovery, State, StateMachine};

use super::disk::Failure;
use super::world::World;

impl<M: StateMachine<Response: Debug>> World<'_, M> {
    pub(super) fn lose_majority(&mut self) {
        let Some(survivor) = self.survivor() else {
            return;
        };
        self.reach("a majority was lost");
        let members = self.members();
        let others = members.iter().copied().filter(|id| *id != survivor);
        let back_max = self.random.below(members.len() as u64 / 2 + 1) as usize;
        for (number, id) in others.enumerate() {
            self.end(id);
            self.seats[&id].disk.survive_kill();
            if number < back_max {
                self.down(id);
            } else {
                self.seats.get_mut(&id).expect("it is seated").is_gone = true;
            }
        }
        self.end(survivor);
        self.seats[&survivor].disk.cut_power(&mut self.random);
        self.say(format!("{survivor} is all that is left"));
        self.recover(survivor);
        self.down(survivor);
    }

    /// The leader of a group at rest, if it has stored all that was ever committed.
    fn survivor(&self) -> Option<u64> {
        let is_it = |id: &u64| {
            let running = self.seats[id].running.as_ref();
            let progress = running.map(|running| running.progress());
            progress.is_some_and(|it| it.state == State::Leader && it.durable == it.last)
        };
        let survivor = self.members().into_iter().find(is_it)?;
        self.can_be_spared(survivor).then_some(survivor)
    }

    /// The power may go meanwhile; then it is done once more.
    fn recover(&mut self, id: u64) {
        self.seats[&id].disk.set_room(None);
        let fails = self.random.chance(500);
        if fails {
            let after = self.random.below(20);
            self.seats[&id].disk.fail_after(after, Failure::Power);
        }
        let mut recovered = self.try_to_recover(id);
        if recovered.is_err() && self.seats[&id].disk.is_disturbed() {
            self.reach("a recovery was cut short");
            self.seats[&id].disk.cut_power(&mut self.random);
            recovered = self.try_to_recover(id);
        }
        self.seats[&id].disk.survive_kill();
        match recovered {
            Ok(cluster) => self.cluster = cluster,
            Err(error) => self.violate("recovery", format!("replica {id}: {error}")),
        }
    }

    fn try_to_recover(&mut self, id: u64) -> Result<u64, String> {
        let around = Around {
            disk: Arc::new(self.seats[&id].disk.clone()),
            wall: self.now,
            random: self.random.next(),
        };
        let recovery = Recovery::accept_data_loss();
        let recovered = recover_group_around(around, Path::new("replica"), &recovery);
        recovered
            .map(|recovered| recovered.cluster)
            .map_err(|error| error.to_string())
    }
}
