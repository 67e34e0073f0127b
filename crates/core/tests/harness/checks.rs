//! What must hold whatever a script is about.

use little_raft_core::message::{AppendOutcome, Ballot, Body};
use little_raft_core::{
    Entry, Member, Membership, Message, Position, Raft, ReplicaId, Role, State,
};

use super::world::World;

impl World {
    /// The membership in force is the newest in the log; one leader a term; and what is committed is on a majority's disks, and stays.
    pub fn check(&mut self, id: u64) {
        let machine = &self.machines[&id];
        let raft: &Raft = machine.raft();
        raft.check_invariants();
        let disk = machine.disk_to_be();
        let in_log = disk.entries.iter().rev().find_map(Entry::membership);
        let in_log = in_log.as_ref().unwrap_or(&disk.base.membership);
        assert_eq!(raft.membership(), in_log, "{id} goes by another membership");
        if raft.state() == State::Leader {
            let leader = self.leaders.entry(raft.term()).or_insert(id);
            assert_eq!(*leader, id, "two leaders of term {}", raft.term());
        }
        for index in raft.base().index.max(1)..=raft.committed() {
            let term = raft.term_at(index).expect("what is committed is there");
            match self.committed.get(&index) {
                Some(first) => assert_eq!(*first, term, "{id} committed another entry {index}"),
                None => self.check_durable(raft, Position::new(index, term)),
            }
            self.committed.insert(index, term);
        }
    }

    /// A leader counts majorities of both halves; what a script begins with is taken for granted.
    fn check_durable(&self, raft: &Raft, position: Position) {
        if raft.state() != State::Leader {
            return;
        }
        let holds = |id: ReplicaId| {
            let disk = self.machines.get(&id.0).map(|machine| &machine.disk);
            disk.is_some_and(|disk| disk.holds(position))
        };
        for role in [|it: &Member| it.role, |it: &Member| it.next_role] {
            let is_held = has_majority(raft.membership(), role, holds);
            assert!(is_held, "{position} is committed, and not durable");
        }
    }

    /// Rule 1: what a message claims is on its sender's disk when it leaves.
    pub fn check_promise(&self, message: &Message) {
        let disk = &self.machines[&message.from.0].disk;
        let has_voted = |candidate| {
            let hard = disk.hard_state;
            hard.term == message.term && hard.vote == Some(candidate)
        };
        let is_kept = match &message.body {
            Body::Vote(vote) => vote.ballot == Ballot::Pre || has_voted(message.from),
            Body::VoteReply(reply) if reply.granted => {
                reply.ballot == Ballot::Pre || has_voted(message.to)
            }
            Body::AppendReply(reply) => match reply.outcome {
                AppendOutcome::Matched(index) => {
                    disk.hard_state.term >= message.term && disk.last().index >= index
                }
                AppendOutcome::Heard => disk.hard_state.term >= message.term,
                AppendOutcome::Rejected { .. } => true,
            },
            _ => true,
        };
        let from = message.from;
        assert!(is_kept, "{from} claims what is not on its disk");
    }
}

/// Counted without the code under test.
fn has_majority(
    members: &Membership,
    role: fn(&Member) -> Option<Role>,
    holds: impl Fn(ReplicaId) -> bool,
) -> bool {
    let voters = members.members.iter();
    let voters = voters.filter(|member| role(member) == Some(Role::Voter));
    let held: Vec<bool> = voters.map(|voter| holds(voter.id)).collect();
    2 * held.iter().filter(|held| **held).count() > held.len()
}
