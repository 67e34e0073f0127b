//! Clients: whom they ask for what, and that it ends.

use bytes::{BufMut, BytesMut};
use little_raft_core::{Event, Input, Proposal, ReplicaId, State};

use super::World;
use super::planned::Happening;
use crate::checks::{Operation, Violation, ensure};
use crate::coverage::Situation;
use crate::machine::checksum;
use crate::node::{Effects, Ending, Node};
use crate::weather::{MILLI, SECOND};

impl World {
    pub(super) fn client(&mut self) -> Result<(), Violation> {
        let every = self.random.between(1, 2 * self.weather.propose_every);
        self.plan(every, Happening::Client);
        self.checks
            .operations
            .expire(self.now.saturating_sub(10 * SECOND));
        if self.is_idle {
            return Ok(());
        }
        let at = self.whom_to_ask();
        let is_read = self.random.chance(self.weather.reads);
        self.operate(at, is_read)
    }

    /// Clients that wait for a leader come as soon as there is one.
    pub(super) fn rush(&mut self, at: usize, events: &[Event]) {
        let has_leader = |event: &Event| {
            matches!(
                event,
                Event::Leadership {
                    leader: Some(_),
                    ..
                }
            )
        };
        if self.weather.is_eager && !self.is_idle && events.iter().any(has_leader) {
            self.rush_to(at);
        }
    }

    pub(super) fn rush_to(&mut self, at: usize) {
        for _ in 0..self.random.below(4) {
            let after = self.random.below(5 * MILLI);
            self.plan(after, Happening::Rush { at: at as u64 });
        }
    }

    /// Half the clients ask who leads, or believes to.
    pub(crate) fn whom_to_ask(&mut self) -> usize {
        let leads = |node: &Node| {
            node.raft()
                .is_some_and(|raft| raft.state() == State::Leader)
        };
        let leaders = (0..self.nodes.len()).filter(|at| leads(&self.nodes[*at]));
        let leaders: Vec<usize> = leaders.collect();
        match leaders.is_empty() || self.random.chance(500) {
            true => self.random.below(self.nodes.len() as u64) as usize,
            false => self.random.pick(&leaders),
        }
    }

    /// A client asks a replica for something, if it is up.
    pub(crate) fn operate(&mut self, at: usize, is_read: bool) -> Result<(), Violation> {
        let node = &self.nodes[at];
        if node.raft().is_none() {
            return Ok(());
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let operation = Operation {
            is_read,
            replica: node.id.0,
            began: self.now,
            floor: self.checks.committed.last(),
            leaders: self.checks.election.leaders(),
        };
        self.checks.operations.open.insert(ticket, operation);
        self.journal.note(
            self.now,
            format_args!("{} is asked {ticket}: {operation:?}", at + 1),
        );
        self.happen(Happening::Asked {
            at: at as u64,
            ticket,
            is_read,
        })
    }

    pub(super) fn ask(&mut self, at: usize, ticket: u64, is_read: bool) -> Result<(), Violation> {
        if is_read {
            return self.input(at, Input::Read { ticket });
        }
        let mut payload = BytesMut::new();
        payload.put_u64_le(ticket);
        payload.resize(
            8 + self.random.below(self.weather.payload_max) as usize,
            ticket as u8,
        );
        let payload = payload.freeze();
        let checksum = checksum(&payload);
        let proposal = Proposal::command(checksum, payload);
        self.input(at, Input::Propose { ticket, proposal })
    }

    pub(super) fn look_at_reads(&self, effects: &mut Effects) {
        let leaders = self.checks.election.leaders();
        for (ticket, ending) in &effects.ended {
            let asked = self.checks.operations.open.get(ticket);
            let is_across = asked.is_some_and(|asked| asked.leaders < leaders);
            effects.reached.extend(match ending {
                Ending::Read { .. } if is_across => Some(Situation::ReadAcrossLeaders),
                Ending::Unknown => Some(Situation::Unknown),
                _ => None,
            });
        }
    }

    /// Whoever belongs has served its reads; the others have nobody to ask.
    pub(crate) fn check_open_reads(&self) -> Result<(), Violation> {
        let members = self.membership();
        let mut open = self.checks.operations.open.iter();
        let open = open
            .find(|(_, open)| open.is_read && members.member(ReplicaId(open.replica)).is_some());
        ensure(open.is_none(), "whatever began ends", || {
            format!("{open:?} never ended")
        })
    }
}
