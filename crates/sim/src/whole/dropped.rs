//! What a witness drops must be on two full replicas' disks, or on all there are.

use std::fmt::Debug;

use little_raft::StateMachine;

use super::either::DROPPED;
use super::world::World;

impl<M: StateMachine<Response: Debug>> World<'_, M> {
    /// Notes what is on this full replica's disk: what was committed stays there.
    pub(super) fn note_held(&mut self, id: u64) {
        let seat = self.seats.get_mut(&id).expect("it is seated");
        let raft = seat.running.as_ref().map(|running| running.raft());
        let Some(raft) = raft.filter(|_| !seat.setup.is_witness) else {
            return;
        };
        let durable = raft.durable();
        let term = raft.term_at(durable).unwrap_or(0);
        seat.held = seat.held.max((term, durable));
    }

    /// A log that goes as far, in as new a term, is taken to hold it: that accuses nobody falsely.
    pub(super) fn check_dropped(&mut self, id: u64, noted: Option<&'static str>) {
        let running = self.seats[&id].running.as_ref();
        let Some(witness) = running.filter(|_| noted == Some(DROPPED)) else {
            return;
        };
        let base = witness.raft().base();
        let holds = |held: (u64, u64)| held.0 >= base.term && held.1 >= base.index;
        let holders = self.seats.values().filter(|seat| holds(seat.held)).count();
        let known = self.seats.values().filter_map(|seat| seat.running.as_ref());
        let full = known.map(|it| {
            let members = it.membership();
            members.voters().filter(|id| members.may_lead(*id)).count()
        });
        let needed = full.min().unwrap_or(0).min(2);
        if holders < needed {
            let text = format!(
                "{id} dropped all up to {base}, which {holders} full replicas have durably"
            );
            self.violate("witnesses keep what others lack", text);
        }
    }
}
