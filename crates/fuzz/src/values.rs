//! Any message, entry or membership: valid as bytes, whatever it means.

use std::time::Duration;

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft_core::message::{
    Append, AppendOutcome, AppendReply, Ballot, Body, Content, Forward, ForwardReply, Heartbeat,
    Read, ReadReply, Snapshot, SnapshotOutcome, SnapshotReply, Stamp, Supply, Vote, VoteReply,
};
use little_raft_core::{
    Base, Change, Codec, Conditions, Entry, EntryKind, HardState, Identity, Member, Membership,
    Message, Position, Proposal, Refusal, ReplicaId, Role, Timing,
};

const LIST_MAX: usize = 4;
const PAYLOAD_BYTES_MAX: usize = 64;

/// Mostly small, so that numbers meet each other; sometimes as large as can be.
pub fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=9)? {
        0 => u.arbitrary()?,
        1 => u64::MAX - u.int_in_range(0..=2)?,
        _ => u.int_in_range(0..=8)?,
    })
}

pub fn maybe<T>(
    u: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    u.arbitrary::<bool>()?.then(|| make(u)).transpose()
}

pub fn some<T>(
    u: &mut Unstructured<'_>,
    make: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=LIST_MAX)?)
        .map(|_| make(u))
        .collect()
}

pub fn id(u: &mut Unstructured<'_>) -> Result<ReplicaId> {
    Ok(ReplicaId(match u.int_in_range(0..=9)? {
        0 => number(u)?,
        _ => u.int_in_range(1..=4)?,
    }))
}

pub fn position(u: &mut Unstructured<'_>) -> Result<Position> {
    Ok(Position::new(number(u)?, number(u)?))
}

pub fn payload(u: &mut Unstructured<'_>) -> Result<Bytes> {
    let count = u.int_in_range(0..=PAYLOAD_BYTES_MAX)?;
    let count = count.min(u.len());
    Ok(Bytes::copy_from_slice(u.bytes(count)?))
}

pub fn role(u: &mut Unstructured<'_>) -> Result<Role> {
    Ok(*u.choose(&[Role::Voter, Role::Learner])?)
}

fn address(u: &mut Unstructured<'_>) -> Result<String> {
    Ok((*u.choose(&["", "a:1", "b:2", "größe:3"])?).into())
}

pub fn timing(u: &mut Unstructured<'_>) -> Result<Timing> {
    Ok(Timing {
        heartbeat: Duration::from_nanos(number(u)?),
        election: Duration::from_nanos(number(u)?),
    })
}

pub fn member(u: &mut Unstructured<'_>) -> Result<Member> {
    Ok(Member {
        id: id(u)?,
        incarnation: maybe(u, number)?,
        address: address(u)?,
        role: maybe(u, role)?,
        next_role: maybe(u, role)?,
        promote_when_caught_up: u.arbitrary()?,
        priority: u.arbitrary()?,
        witness: u.arbitrary()?,
    })
}

pub fn membership(u: &mut Unstructured<'_>) -> Result<Membership> {
    Ok(Membership {
        version: number(u)?,
        members: some(u, member)?,
        timing: maybe(u, timing)?,
    })
}

pub fn base(u: &mut Unstructured<'_>) -> Result<Base> {
    Ok(Base {
        position: position(u)?,
        membership: membership(u)?,
    })
}

pub fn hard_state(u: &mut Unstructured<'_>) -> Result<HardState> {
    Ok(HardState {
        term: number(u)?,
        vote: maybe(u, id)?,
        committed: number(u)?,
    })
}

pub fn identity(u: &mut Unstructured<'_>) -> Result<Identity> {
    Ok(Identity {
        cluster: number(u)?,
        replica: id(u)?,
        incarnation: number(u)?,
        boot: number(u)?,
        founders: some(u, member)?,
    })
}

fn change(u: &mut Unstructured<'_>) -> Result<Change> {
    Ok(match u.int_in_range(0..=6)? {
        0 => Change::Add {
            id: id(u)?,
            address: address(u)?,
            role: role(u)?,
            priority: u.arbitrary()?,
            witness: u.arbitrary()?,
        },
        1 => Change::Remove(id(u)?),
        2 => Change::SetRole(id(u)?, role(u)?),
        3 => Change::SetAddress(id(u)?, address(u)?),
        4 => Change::SetPriority(id(u)?, u.arbitrary()?),
        5 => Change::Bind(id(u)?, number(u)?),
        _ => Change::SetTiming(timing(u)?),
    })
}

/// What an entry of this kind says: sense, or any bytes.
fn content(u: &mut Unstructured<'_>, kind: EntryKind, proposed: bool) -> Result<Bytes> {
    match kind {
        EntryKind::Noop => Ok(Bytes::new()),
        EntryKind::Membership if u.ratio(3, 4)? => Ok(match proposed {
            true => some(u, change)?.to_bytes(),
            false => membership(u)?.to_bytes(),
        }),
        _ => payload(u),
    }
}

fn kind(u: &mut Unstructured<'_>) -> Result<EntryKind> {
    Ok(*u.choose(&[
        EntryKind::Command,
        EntryKind::Noop,
        EntryKind::Membership,
        EntryKind::Commands,
        EntryKind::Session,
        EntryKind::Digest,
    ])?)
}

/// The checksum is the right one, most of the time.
fn checksum(u: &mut Unstructured<'_>, payload: &Bytes) -> Result<u32> {
    match u.ratio(9, 10)? {
        true => Ok(crc32c::crc32c(payload)),
        false => u.arbitrary(),
    }
}

pub fn entry(u: &mut Unstructured<'_>) -> Result<Entry> {
    let at = position(u)?;
    entry_at(u, at)
}

pub fn entry_at(u: &mut Unstructured<'_>, position: Position) -> Result<Entry> {
    let kind = kind(u)?;
    let payload = content(u, kind, false)?;
    Ok(Entry {
        position,
        kind,
        time: number(u)?,
        checksum: checksum(u, &payload)?,
        payload,
    })
}

/// Consecutive ones behind `prev`, most of the time.
fn entries(u: &mut Unstructured<'_>, prev: Position) -> Result<Vec<Entry>> {
    if u.ratio(1, 10)? {
        return some(u, entry);
    }
    let (mut at, mut entries) = (prev, Vec::new());
    for _ in 0..u.int_in_range(0..=LIST_MAX)? {
        at.index = at.index.saturating_add(1);
        at.term = at.term.saturating_add(u.int_in_range(0..=1)?);
        entries.push(entry_at(u, at)?);
    }
    Ok(entries)
}

pub fn proposal(u: &mut Unstructured<'_>) -> Result<Proposal> {
    let kind = kind(u)?;
    let payload = content(u, kind, true)?;
    Ok(Proposal {
        kind,
        checksum: checksum(u, &payload)?,
        payload,
        conditions: Conditions {
            leader_term: maybe(u, number)?,
            members_version: maybe(u, number)?,
            index_max: maybe(u, number)?,
        },
    })
}

fn refusal(u: &mut Unstructured<'_>) -> Result<Refusal> {
    Ok(u.choose(&[
        Refusal::NoLeader,
        Refusal::Transferring,
        Refusal::Busy,
        Refusal::DiskFull,
        Refusal::Condition,
        Refusal::Unknown,
        Refusal::Witness,
    ])?
    .clone())
}

fn stamp(u: &mut Unstructured<'_>) -> Result<Stamp> {
    Ok(Stamp {
        number: number(u)?,
        sent: number(u)?,
        round: number(u)?,
    })
}

fn ballot(u: &mut Unstructured<'_>) -> Result<Ballot> {
    Ok(*u.choose(&[Ballot::Pre, Ballot::Real, Ballot::Transfer])?)
}

fn append(u: &mut Unstructured<'_>) -> Result<Append> {
    let prev = position(u)?;
    Ok(Append {
        stamp: stamp(u)?,
        prev,
        committed: number(u)?,
        settled: number(u)?,
        entries: entries(u, prev)?.into(),
    })
}

fn append_outcome(u: &mut Unstructured<'_>) -> Result<AppendOutcome> {
    Ok(match u.int_in_range(0..=4)? {
        0 => AppendOutcome::Heard,
        1 | 2 => AppendOutcome::Matched(number(u)?),
        _ => AppendOutcome::Rejected {
            prev: number(u)?,
            hint: position(u)?,
        },
    })
}

fn piece(u: &mut Unstructured<'_>) -> Result<Snapshot> {
    Ok(Snapshot {
        transfer: number(u)?,
        base: base(u)?,
        content: snapshot_content(u)?,
        offset: number(u)?,
        data: payload(u)?,
        done: u.arbitrary()?,
        elsewhere: maybe(u, id)?,
    })
}

fn supply(u: &mut Unstructured<'_>) -> Result<Supply> {
    let prev = position(u)?;
    Ok(Supply {
        last: position(u)?,
        prev,
        entries: entries(u, prev)?.into(),
    })
}

fn snapshot_content(u: &mut Unstructured<'_>) -> Result<Content> {
    Ok(match u.arbitrary()? {
        true => Content::Made(number(u)?),
        false => Content::Kept {
            length: number(u)?,
            checksum: u.arbitrary()?,
        },
    })
}

fn snapshot_outcome(u: &mut Unstructured<'_>) -> Result<SnapshotOutcome> {
    Ok(match u.int_in_range(0..=2)? {
        0 => SnapshotOutcome::Stored(number(u)?),
        1 => SnapshotOutcome::Installed,
        _ => SnapshotOutcome::Refused,
    })
}

pub fn body(u: &mut Unstructured<'_>) -> Result<Body> {
    Ok(match u.int_in_range(0..=15)? {
        0 => Body::Vote(Vote {
            number: number(u)?,
            ballot: ballot(u)?,
            last: position(u)?,
        }),
        1 => Body::VoteReply(VoteReply {
            number: number(u)?,
            ballot: ballot(u)?,
            granted: u.arbitrary()?,
            promise: number(u)?,
        }),
        2 => Body::Append(append(u)?),
        3 => Body::AppendReply(AppendReply {
            stamp: stamp(u)?,
            promise: number(u)?,
            outcome: append_outcome(u)?,
        }),
        4 => Body::Snapshot(piece(u)?),
        5 => Body::SnapshotReply(SnapshotReply {
            transfer: number(u)?,
            outcome: snapshot_outcome(u)?,
        }),
        6 => Body::Forward(Forward {
            sequence: number(u)?,
            proposal: proposal(u)?,
        }),
        7 => Body::ForwardReply(ForwardReply {
            sequence: number(u)?,
            outcome: match u.arbitrary()? {
                true => Ok(position(u)?),
                false => Err(refusal(u)?),
            },
        }),
        8 => Body::Read(Read { number: number(u)? }),
        9 => Body::ReadReply(ReadReply {
            number: number(u)?,
            index: number(u)?,
        }),
        10 => Body::Campaign,
        11 => Body::Heartbeat(Heartbeat {
            stamp: stamp(u)?,
            committed: number(u)?,
        }),
        12 => Body::Removed(number(u)?),
        13 => Body::Supply(supply(u)?),
        14 => Body::Borrow(number(u)?),
        _ => Body::Lent(piece(u)?),
    })
}

pub fn message(u: &mut Unstructured<'_>) -> Result<Message> {
    Ok(Message {
        cluster: number(u)?,
        group: number(u)?,
        from: id(u)?,
        to: id(u)?,
        from_incarnation: number(u)?,
        to_incarnation: maybe(u, number)?,
        boot: number(u)?,
        term: number(u)?,
        body: body(u)?,
    })
}
