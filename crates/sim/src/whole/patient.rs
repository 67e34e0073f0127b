//! Data that is lost for good on one replica: its disk is emptied (rule 13), or a bit of it rots (rule 3). Its operator
//! replaces it by another; until then no second one is hit, and nobody else is removed.

use std::fmt::Debug;

use little_raft::{Membership, ReplicaId, Role, StateMachine};
use little_raft_core::Change;

use super::disk::{SECTOR_BYTES, SimDisk};
use super::promised::Promised;
use super::world::{Due, World, address};
use crate::random::Random;
use crate::weather::{MILLI, SECOND};

/// A group of fewer voters does not survive the loss of one.
const VOTERS_MIN: usize = 3;
/// Where its files are.
const DIRECTORIES: [&str; 2] = ["replica/", "machine/"];
/// Changes of members that ended before that can't be on their way any more.
const QUIET_NANOS: u64 = 2 * SECOND;

/// How it stands with the one that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patient {
    /// A bit of what this one stored has rotted, and perhaps it has not noticed.
    Rotten(u64),
    /// This one is to be removed.
    Lost(u64),
    /// This one takes its place.
    Replaced(u64),
}

impl<M: StateMachine<Response: Debug>> World<'_, M> {
    /// Whether its disk may hold what it should not.
    pub(super) fn is_rotten(&self, id: u64) -> bool {
        self.patient == Some(Patient::Rotten(id))
    }

    /// Whether the group could go on without `id`, whatever becomes of it.
    pub(super) fn can_be_spared(&self, id: u64) -> bool {
        let members = self.members();
        let is_settled = members.contains(&id) && self.changes.is_empty();
        let is_quiet = self.last_change + QUIET_NANOS <= self.now;
        let all_agree = members.iter().all(|member| {
            let seat = self.seats.get(member);
            let running = seat.and_then(|seat| seat.running.as_ref());
            let settled = running.and_then(|it| it.raft().settled_membership());
            settled.is_some_and(|settled| survives(settled, id, &members))
        });
        self.patient.is_none() && is_settled && is_quiet && all_agree
    }

    /// The disk is exchanged for an empty one, and the replica started as before.
    pub(super) fn wipe(&mut self, id: u64) {
        if !self.can_be_spared(id) {
            return;
        }
        self.reach("a disk was emptied");
        self.end(id);
        let incarnation = self.random.next() | 1;
        let seat = self.seats.get_mut(&id).expect("it is seated");
        seat.disk = SimDisk::default();
        seat.promised = Promised::default();
        seat.setup.founding.incarnation = incarnation;
        if seat.setup.founding.founders.len() == 1 {
            // Nobody would keep it from founding the group once more: it has to be told to join.
            seat.setup.founding.founders.clear();
        }
        self.patient = Some(Patient::Lost(id));
        self.down(id);
        self.at(SECOND, Due::Operate);
    }

    /// A bit flips in what was stored long ago: what was written last can't be told from an unfinished write.
    pub(super) fn rot(&mut self, id: u64) {
        if !self.can_be_spared(id) {
            return;
        }
        let seat = self.seats.get_mut(&id).expect("it is seated");
        let running = seat.running.as_mut().expect("it can be spared");
        if running.rest().is_err() {
            return;
        }
        let paths = seat.disk.paths();
        let path = self.random.pick(&paths);
        let random = &mut self.random;
        let hit = seat.disk.change(&path, |bytes| flip(bytes, random));
        if let Some(at) = hit {
            self.reach("a bit rotted");
            self.say(format!("byte {at} of {} rots", path.display()));
            self.patient = Some(Patient::Rotten(id));
        }
    }

    /// A replica that finds its data damaged has to say so by the file's name, and is given up.
    pub(super) fn give_up(&mut self, id: u64, error: &str) {
        // A file that is missing is named, too.
        let is_named = DIRECTORIES.iter().any(|dir| error.contains(dir));
        if !is_named {
            self.violate("damage is named", format!("replica {id}: {error}"));
        }
        self.reach("damage was found");
        self.say(format!("{id} is given up: {error}"));
        let seat = self.seats.get_mut(&id).expect("it is seated");
        seat.running = None;
        seat.is_gone = true;
        self.patient = Some(Patient::Lost(id));
        self.at(MILLI, Due::Operate);
    }

    /// What the operator does next.
    pub(super) fn operate(&mut self) {
        let members = self.members();
        let is_busy = !self.changes.is_empty() || members.is_empty();
        match self.patient {
            None | Some(Patient::Rotten(_)) => return,
            _ if is_busy => {}
            Some(Patient::Lost(id)) if members.contains(&id) => {
                self.change(id, vec![Change::Remove(ReplicaId(id))]);
            }
            Some(Patient::Lost(id)) => {
                let seat = self.seats.get_mut(&id).expect("it is seated");
                (seat.running, seat.is_gone) = (None, true);
                let is_witness = seat.setup.is_witness;
                let new = self.newcomer(is_witness);
                self.patient = Some(Patient::Replaced(new));
            }
            Some(Patient::Replaced(new)) if members.contains(&new) => {
                self.reach("a lost replica was replaced");
                self.patient = None;
                return;
            }
            Some(Patient::Replaced(new)) => self.change(new, vec![self.joining(new)]),
        }
        let after = self.random.between(50 * MILLI, 300 * MILLI);
        self.at(after, Due::Operate);
    }

    /// It is to become a voter.
    pub(super) fn joining(&self, id: u64) -> Change {
        Change::Add {
            id: ReplicaId(id),
            address: address(id),
            role: Role::Voter,
            priority: 0,
            witness: self.seats[&id].setup.is_witness,
        }
    }

    /// By way of anybody but `about`.
    fn change(&mut self, about: u64, changes: Vec<Change>) {
        let others: Vec<u64> = self.running().filter(|id| *id != about).collect();
        if !others.is_empty() {
            let by = self.random.pick(&others);
            self.propose_change(by, changes);
        }
    }
}

/// All know each other's disks, and without `id` there are voters enough, one of whom could lead.
fn survives(settled: &Membership, id: u64, members: &[u64]) -> bool {
    let member = |id: &u64| settled.member(ReplicaId(*id));
    let is_bound = |id: &u64| member(id).is_some_and(|it| it.incarnation.is_some());
    let mut others = settled.voters().filter(|other| other.0 != id);
    settled.voters().count() >= VOTERS_MIN
        && others.any(|other| settled.may_lead(other))
        && members.iter().all(is_bound)
}

/// Flips a bit where something was written, if there is such a place, and says in which byte.
fn flip(bytes: &mut [u8], random: &mut Random) -> Option<usize> {
    let used = (0..bytes.len()).step_by(SECTOR_BYTES).filter(|begin| {
        let end = (begin + SECTOR_BYTES).min(bytes.len());
        bytes[*begin..end].iter().any(|byte| *byte != 0)
    });
    let used: Vec<usize> = used.collect();
    let begin = (!used.is_empty()).then(|| random.pick(&used))?;
    let length = SECTOR_BYTES.min(bytes.len() - begin);
    let at = begin + random.below(length as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    Some(at)
}
