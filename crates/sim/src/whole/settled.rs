//! Whether a group has come to rest: who belongs to it, and what of it is still open.

use std::fmt::Debug;

use little_raft::{State, StateMachine};

use super::either::Either;
use super::patient::Patient;
use super::world::World;

impl<M: StateMachine<Response: Debug>> World<'_, M> {
    /// The newest leader's members, once they are committed; nobody before.
    pub(super) fn members(&self) -> Vec<u64> {
        let running = self.seats.values().filter_map(|seat| seat.running.as_ref());
        let leader = running
            .filter(|running| running.progress().state == State::Leader)
            .max_by_key(|running| running.progress().term);
        let settled = leader.and_then(|leader| leader.raft().settled_membership());
        let members = settled.map(|settled| settled.members.iter());
        members.into_iter().flatten().map(|it| it.id.0).collect()
    }

    pub(super) fn members_running(&self) -> impl Iterator<Item = &Either<M>> {
        let members = self.members();
        let seats = self.seats.iter();
        let seats = seats.filter(move |(id, _)| members.contains(id));
        seats.filter_map(|(_, seat)| seat.running.as_ref())
    }

    /// Whoever was never heard of, or left before it heard that it had come, is told by nobody: its operator is.
    pub(super) fn stop_strangers(&mut self) {
        let members = self.members();
        if members.is_empty() {
            return;
        }
        for (id, seat) in &mut self.seats {
            let is_joining = self.patient == Some(Patient::Replaced(*id));
            if !members.contains(id) && !is_joining {
                seat.running = None;
                seat.is_gone = true;
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    pub(super) fn unsettled(&self) -> String {
        if let Some(Patient::Lost(id) | Patient::Replaced(id)) = self.patient {
            return format!("replica {id} is not yet removed, or no voter yet");
        }
        if !self.clients.open.is_empty() || !self.changes.is_empty() {
            let (operations, changes) = (self.clients.open.len(), self.changes.len());
            return format!("{operations} operations and {changes} changes have not ended");
        }
        let all: Vec<_> = self
            .members_running()
            .map(|it| (it.progress(), it.applied()))
            .collect();
        let Some((leader, _)) = all
            .iter()
            .find(|(progress, _)| progress.state == State::Leader)
        else {
            return "nobody leads".into();
        };
        let (last, term) = (leader.last, leader.term);
        let lags = all
            .iter()
            .find(|(progress, applied)| *applied != last || progress.term != term);
        match lags {
            Some((progress, applied)) => {
                format!("one has applied {applied} of {last}: {progress:?}")
            }
            None => String::new(),
        }
    }
}
