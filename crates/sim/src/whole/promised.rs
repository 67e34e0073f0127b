//! What a replica has bound itself to, seen from outside: when it starts again, it must know of it.

use little_raft::Message;
use little_raft::driver::Progress;
use little_raft_core::message::{AppendOutcome, Ballot, Body};

/// Of one disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Promised {
    /// It has voted, acknowledged or led in this term.
    term: u64,
    /// All up to here was durable and committed, as far as it knew.
    committed: u64,
}

impl Promised {
    /// What it is at, and what it says.
    pub(super) fn note(&mut self, progress: &Progress, says: &[Message]) {
        let known = progress.committed.min(progress.durable);
        self.committed = self.committed.max(known);
        let binding = says.iter().filter(|message| is_binding(&message.body));
        let newest = binding.map(|message| message.term).max();
        self.term = self.term.max(newest.unwrap_or(0));
    }

    /// What it no longer knows of at its start, if anything.
    pub(super) fn forgotten(&self, progress: &Progress) -> Option<String> {
        let Self { term, committed } = *self;
        if progress.term < term {
            let text = format!("it had promised something in term {term}");
            return Some(format!("{text}, and starts in {}", progress.term));
        }
        let last = progress.last;
        (last < committed).then(|| {
            format!("all up to {committed} was durable and committed, and its log ends at {last}")
        })
    }
}

fn is_binding(body: &Body) -> bool {
    match body {
        Body::Append(_) => true,
        Body::AppendReply(reply) => matches!(reply.outcome, AppendOutcome::Matched(_)),
        Body::VoteReply(reply) => reply.granted && reply.ballot != Ballot::Pre,
        _ => false,
    }
}
