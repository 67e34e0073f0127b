//! How messages, writes and the rest are said in a transcript.

use little_raft_core::message::{
    AppendOutcome, Ballot, Body, Snapshot, SnapshotOutcome, Vote, VoteReply,
};
use little_raft_core::{
    Entry, EntryKind, Event, Membership, Message, Position, Role, State, Write,
};

use super::world::Rounds;

/// `3@1-5@1,6@2`: runs of equal terms.
pub fn positions(positions: impl Iterator<Item = Position>) -> String {
    let mut runs: Vec<(Position, Position)> = Vec::new();
    for position in positions {
        match runs.last_mut() {
            Some((_, last)) if last.term == position.term && last.index + 1 == position.index => {
                *last = position;
            }
            _ => runs.push((position, position)),
        }
    }
    let said = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    said.collect::<Vec<_>>().join(",")
}

fn entries(entries: &[Entry]) -> String {
    positions(entries.iter().map(|entry| entry.position))
}

pub fn write(write: &Write, before: (u64, Option<u64>)) -> String {
    let mut said = Vec::new();
    let hard = write.hard_state;
    let vote = hard.vote.map(|vote| vote.0);
    if (hard.term, vote) != before {
        let vote = vote.map_or("no vote".into(), |vote| format!("vote for {vote}"));
        said.push(format!("term {}, {vote}", hard.term));
    }
    if let Some(base) = &write.base {
        said.push(format!("base {}", base.position));
    }
    if !write.entries.is_empty() {
        said.push(format!("entries {}", entries(&write.entries)));
    }
    said.join(", ")
}

pub fn message(message: &Message, rounds: &mut Rounds) -> String {
    let term = message.term;
    match &message.body {
        Body::Vote(Vote { ballot, last, .. }) => match ballot {
            Ballot::Pre => format!("would you vote for me after term {term}? log ends at {last}"),
            Ballot::Real => format!("vote for me in term {term}, log ends at {last}"),
            Ballot::Transfer => format!("vote for me in term {term}, told to, log ends at {last}"),
        },
        Body::VoteReply(VoteReply {
            ballot, granted, ..
        }) => {
            let pre = if *ballot == Ballot::Pre { "pre-" } else { "" };
            let granted = if *granted { "granted" } else { "refused" };
            format!("{pre}vote {granted}, term {term}")
        }
        Body::Append(append) => {
            let what = match append.entries.is_empty() {
                true => format!("heartbeat after {}", append.prev),
                false => format!(
                    "append after {}, entries {}",
                    append.prev,
                    entries(&append.entries)
                ),
            };
            let (committed, round) = (append.committed, rounds.say(append.stamp.round));
            let settled = match append.settled {
                0 => String::new(),
                settled => format!(", settled {settled}"),
            };
            format!("{what}, committed {committed}{settled}{round}")
        }
        Body::Heartbeat(heartbeat) => {
            let round = rounds.say(heartbeat.stamp.round);
            format!("bare heartbeat, committed {}{round}", heartbeat.committed)
        }
        Body::AppendReply(reply) => match reply.outcome {
            AppendOutcome::Matched(index) => {
                format!(
                    "append ok, durable {index}{}",
                    rounds.say(reply.stamp.round)
                )
            }
            AppendOutcome::Rejected { prev, hint } => {
                format!("append rejected, no {prev}, try {hint}, term {term}")
            }
            AppendOutcome::Heard => format!("heard{}", rounds.say(reply.stamp.round)),
        },
        Body::Snapshot(snapshot) => piece(snapshot),
        Body::Borrow(index) => format!("lend me a snapshot of {index} or later"),
        Body::Lent(snapshot) => format!("lent: {}", piece(snapshot)),
        Body::SnapshotReply(reply) => match reply.outcome {
            SnapshotOutcome::Stored(offset) => format!("snapshot stored up to {offset}"),
            SnapshotOutcome::Installed => "snapshot installed".into(),
            SnapshotOutcome::Refused => "snapshot refused".into(),
        },
        Body::Forward(forward) if forward.proposal.kind == EntryKind::Membership => {
            "forward a change of members".into()
        }
        Body::Forward(forward) => format!("forward {}", payload(&forward.proposal.payload)),
        Body::ForwardReply(reply) => match &reply.outcome {
            Ok(position) => format!("forwarded, appended at {position}"),
            Err(refusal) => format!("forwarded, refused: {refusal:?}"),
        },
        Body::Supply(supply) => format!(
            "here is what you lack after {}: entries {}, of a log up to {}",
            supply.prev,
            entries(&supply.entries),
            supply.last
        ),
        Body::Removed(version) => format!("you are no member since version {version}"),
        Body::Read(_) => "what must be applied to read?".into(),
        Body::ReadReply(reply) => format!("read at {}", reply.index),
        Body::Campaign => "campaign now".into(),
    }
}

fn piece(piece: &Snapshot) -> String {
    let end = if piece.done { ", the last" } else { "" };
    let elsewhere = piece.elsewhere;
    let elsewhere = elsewhere.map_or(String::new(), |id| format!(", or ask {id}"));
    format!(
        "snapshot of {}, piece at {}{end}{elsewhere}",
        piece.base.position, piece.offset
    )
}

pub fn payload(payload: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(payload))
}

pub fn applied(entry: &Entry) -> Option<String> {
    let index = entry.position.index;
    match entry.kind {
        EntryKind::Command | EntryKind::Commands | EntryKind::Session => {
            Some(format!("apply {index} {}", payload(&entry.payload)))
        }
        EntryKind::Noop | EntryKind::Digest => None,
        EntryKind::Membership => entry
            .membership()
            .map(|it| format!("apply {index} {}", members(&it))),
    }
}

/// `members 3: 1 2 -3 +4, 5 learns`: those that only join or leave have a sign.
pub fn members(membership: &Membership) -> String {
    let said = membership.members.iter().map(|member| {
        let (role, next) = (member.role, member.next_role);
        let votes = |role| role == Some(Role::Voter);
        let sign = match (votes(role), votes(next)) {
            (true, false) => "-",
            (false, true) => "+",
            (true, true) | (false, false) => "",
        };
        let witness = if member.witness { " witness" } else { "" };
        let learns = if votes(role) || votes(next) {
            ""
        } else {
            " learns"
        };
        let id = member.id;
        format!("{sign}{id}{witness}{learns}")
    });
    let said: Vec<String> = said.collect();
    format!("members {}: {}", membership.version, said.join(", "))
}

pub fn event(event: &Event) -> String {
    match event {
        Event::Leadership {
            term,
            leader,
            state,
        } => match (state, leader) {
            (State::Leader, _) => format!("leads term {term}"),
            (State::PreCandidate, _) => format!("asks around, term {term}"),
            (State::Candidate, _) => format!("campaigns in term {term}"),
            (State::Follower, Some(leader)) => format!("follows {leader} in term {term}"),
            (State::Follower, None) => format!("follows nobody in term {term}"),
        },
        Event::SteppedDown(reason) => format!("steps down: {reason:?}"),
        Event::Removed => "is removed".into(),
        Event::Ignored { from, reason } => format!("ignores {from}: {reason:?}"),
        other => format!("{other:?}"),
    }
}
