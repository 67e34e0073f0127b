//! What is done to whole replicas, and how it is mended.

use std::fmt::Debug;
use std::time::Duration;

use little_raft::driver::{ChangeRequest, Event};
use little_raft::{Answer, ReplicaId, StateMachine};
use little_raft_core::{Change, Input};

use super::disk::Failure;
use super::trouble::Trouble;
use super::world::{Due, World};
use crate::weather::{MILLI, SECOND};

impl<M: StateMachine<Response: Debug>> World<'_, M> {
    pub(super) fn trouble(&mut self) {
        if !self.is_rough {
            return;
        }
        let trouble = self.troubles.draw(&mut self.random);
        let ids: Vec<u64> = self.running().collect();
        if let (Some(trouble), false) = (trouble, ids.is_empty()) {
            let id = self.random.pick(&ids);
            self.say(format!("{trouble:?} at {id}"));
            self.reach(trouble.name());
            self.make_trouble(trouble, id);
        }
        let after = self.random.between(50 * MILLI, 900 * MILLI);
        self.at(after, Due::Trouble);
    }

    /// Strikes a replica that receives a snapshot or lends one, or all who send as leaders.
    pub(super) fn interrupt(&mut self, id: u64) {
        let kinds = [Trouble::Kill, Trouble::Isolated, Trouble::Transfer];
        let trouble = self.random.pick(&kinds);
        let runs = self.seats[&id].running.is_some();
        if !self.is_rough || !runs || !self.troubles.allows(trouble) {
            return;
        }
        self.say(format!(
            "{trouble:?} while {id} receives a snapshot, or lends one"
        ));
        let ids: Vec<u64> = self.running().collect();
        match trouble {
            Trouble::Transfer => ids
                .into_iter()
                .for_each(|id| self.make_trouble(trouble, id)),
            _ => self.make_trouble(trouble, id),
        }
    }

    fn make_trouble(&mut self, trouble: Trouble, id: u64) {
        match trouble {
            Trouble::Kill => {
                self.end(id);
                self.seats[&id].disk.survive_kill();
                self.down(id);
            }
            Trouble::PowerCut => self.cut_power(id),
            Trouble::AllLosePower => {
                let ids: Vec<u64> = self.running().collect();
                ids.into_iter().for_each(|id| self.cut_power(id));
            }
            Trouble::Isolated => {
                let others: Vec<u64> = self.seats.keys().copied().collect();
                self.cut
                    .extend(others.iter().flat_map(|other| [(id, *other), (*other, id)]));
                self.mend_later(id);
            }
            Trouble::OneWay => {
                let others: Vec<u64> = self.seats.keys().copied().collect();
                let other = self.random.pick(&others);
                self.cut.insert((id, other));
                self.mend_later(id);
            }
            Trouble::SlowDisk => {
                self.seats.get_mut(&id).expect("it runs").is_slow = true;
                self.mend_later(id);
            }
            Trouble::FullDisk => {
                self.seats[&id]
                    .disk
                    .set_room(Some(self.random.below(20_000)));
                self.mend_later(id);
            }
            Trouble::FailedDisk => {
                let after = self.random.below(10);
                self.seats[&id].disk.fail_after(after, Failure::Error);
            }
            Trouble::Transfer => self.give(id, Event::Core(Box::new(Input::Transfer { to: None }))),
            Trouble::Members => self.change_members(id),
            Trouble::Wipe => self.wipe(id),
            Trouble::Rot => self.rot(id),
            Trouble::LostMajority => self.lose_majority(),
            Trouble::Loss => {}
        }
    }

    fn cut_power(&mut self, id: u64) {
        self.end(id);
        self.seats[&id].disk.cut_power(&mut self.random);
        self.down(id);
    }

    pub(super) fn end(&mut self, id: u64) {
        let seat = self.seats.get_mut(&id).expect("it is seated");
        if let Some(running) = seat.running.take() {
            running.end_in_the_middle(&seat.disk, &mut self.random);
        }
    }

    fn mend_later(&mut self, id: u64) {
        let after = self.random.between(50 * MILLI, 3 * SECOND);
        self.at(after, Due::Mend(id));
    }

    pub(super) fn mend(&mut self, id: u64) {
        self.cut.retain(|(from, to)| *from != id && *to != id);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.is_slow = false;
            seat.disk.set_room(None);
            self.schedule(id);
        }
    }

    pub(super) fn mend_all(&mut self) {
        self.say("all is mended".into());
        let ids: Vec<u64> = self.seats.keys().copied().collect();
        for id in ids {
            self.mend(id);
            self.at(MILLI, Due::Start(id));
        }
    }

    /// Adds a replica, removes one, or replaces one by another, by way of `id`.
    fn change_members(&mut self, id: u64) {
        let running = self.seats[&id].running.as_ref();
        let Some(running) = running.filter(|_| self.patient.is_none()) else {
            return;
        };
        let members = running.membership().members.iter();
        let members: Vec<u64> = members.map(|it| it.id.0).collect();
        let mut changes = Vec::new();
        if members.len() < 6 && self.random.chance(600) {
            let is_witness = self.draws_witness();
            let new = self.newcomer(is_witness);
            changes.push(self.joining(new));
        }
        if members.len() > 1 && (changes.is_empty() || self.random.chance(300)) {
            changes.push(Change::Remove(ReplicaId(self.random.pick(&members))));
        }
        self.propose_change(id, changes);
    }

    /// One who never was a member starts, with an empty disk.
    pub(super) fn newcomer(&mut self, is_witness: bool) -> u64 {
        let new = self.seats.keys().last().expect("some are seated") + 1;
        self.seat(new, Vec::new(), is_witness);
        self.start(new);
        new
    }

    pub(super) fn propose_change(&mut self, by: u64, changes: Vec<Change>) {
        let (answer, pending) = Answer::new();
        let request = ChangeRequest {
            changes,
            expecting: None,
            within: Duration::from_secs(5),
            awaits_voters: true,
            answer,
        };
        self.changes.push(pending);
        self.give(by, Event::ChangeMembers(Box::new(request)));
    }
}
