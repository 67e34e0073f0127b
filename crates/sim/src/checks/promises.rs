//! Promises are durable (rule 1): what a message claims is on its sender's disk when it leaves.

use little_raft_core::Message;
use little_raft_core::message::{AppendOutcome, Ballot, Body};

use super::{Violation, ensure};
use crate::node::{Effects, Node};

pub(crate) fn check_promises(node: &Node, effects: &Effects) -> Result<(), Violation> {
    let mut sends = effects.sends.iter();
    let broken = sends.find(|message| !is_kept(node, message));
    ensure(broken.is_none(), "durable promises", || {
        let hard = node.disk.durable.hard;
        format!(
            "{broken:?} leaves a disk with {hard:?} and a log up to {}",
            node.disk.durable.last()
        )
    })
}

fn is_kept(node: &Node, message: &Message) -> bool {
    let disk = &node.disk.durable;
    let has_voted = |candidate| disk.hard.term == message.term && disk.hard.vote == Some(candidate);
    match &message.body {
        Body::Vote(vote) => vote.ballot == Ballot::Pre || has_voted(node.id),
        Body::VoteReply(reply) => {
            reply.ballot == Ballot::Pre || !reply.granted || has_voted(message.to)
        }
        Body::AppendReply(reply) => match reply.outcome {
            AppendOutcome::Matched(index) => disk.hard.term >= message.term && disk.last() >= index,
            AppendOutcome::Heard => disk.hard.term >= message.term,
            AppendOutcome::Rejected { .. } => true,
        },
        _ => true,
    }
}
