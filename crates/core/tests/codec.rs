//! The bytes of messages, entries and all that a log holds: complete, stable, and safe to read from anybody.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use little_raft_core::message::{
    Append, AppendOutcome, AppendReply, Ballot, Body, Content, Forward, ForwardReply, Heartbeat,
    Read, ReadReply, Snapshot, SnapshotOutcome, SnapshotReply, Stamp, Supply, Vote, VoteReply,
};
use little_raft_core::{
    Base, Change, ChangeError, Codec, Conditions, DecodeError, Entry, EntryKind, HardState,
    Identity, Member, Membership, Message, Position, Proposal, Refusal, ReplicaId, Role, Timing,
};

/// A small generator of anything.
struct Any(u64);

impl Any {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Small ones, large ones, and the ends.
        match self.0 % 5 {
            0 => 0,
            1 => u64::MAX,
            2 => self.0 >> 56,
            _ => self.0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn stamp(&mut self) -> Stamp {
        Stamp {
            number: self.number(),
            sent: self.number(),
            round: self.number(),
        }
    }

    fn truth(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Option<T> {
        self.truth().then(|| make(self))
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn id(&mut self) -> ReplicaId {
        ReplicaId(self.number())
    }

    fn position(&mut self) -> Position {
        Position::new(self.number(), self.number())
    }

    fn payload(&mut self) -> Bytes {
        let length = self.below(40);
        (0..length).map(|_| self.number() as u8).collect()
    }

    fn entry(&mut self) -> Entry {
        Entry {
            position: self.position(),
            kind: self.kind(),
            time: self.number(),
            checksum: self.number() as u32,
            payload: self.payload(),
        }
    }

    fn kind(&mut self) -> EntryKind {
        let kinds = [
            EntryKind::Noop,
            EntryKind::Command,
            EntryKind::Membership,
            EntryKind::Commands,
            EntryKind::Session,
            EntryKind::Digest,
        ];
        kinds[self.below(6) as usize]
    }

    fn proposal(&mut self) -> Proposal {
        Proposal {
            kind: self.kind(),
            checksum: self.number() as u32,
            payload: self.payload(),
            conditions: Conditions {
                leader_term: self.maybe(Self::number),
                members_version: self.maybe(Self::number),
                index_max: self.maybe(Self::number),
            },
        }
    }

    fn timing(&mut self) -> Timing {
        Timing {
            heartbeat: Duration::from_nanos(self.number()),
            election: Duration::from_nanos(self.number()),
        }
    }

    fn address(&mut self) -> String {
        ["", "localhost:7001", "größe:1"][self.below(3) as usize].to_owned()
    }

    fn change(&mut self) -> Change {
        match self.below(7) {
            0 => Change::Add {
                id: self.id(),
                address: self.address(),
                role: self.role(),
                priority: self.number() as u32,
                witness: self.truth(),
            },
            1 => Change::Remove(self.id()),
            2 => Change::SetRole(self.id(), self.role()),
            3 => Change::SetAddress(self.id(), self.address()),
            4 => Change::SetPriority(self.id(), self.number() as u32),
            5 => Change::Bind(self.id(), self.number()),
            _ => Change::SetTiming(self.timing()),
        }
    }

    fn refusal(&mut self) -> Refusal {
        let error = match self.below(11) {
            0 => ChangeError::UnderWay,
            1 => ChangeError::Unknown(self.id()),
            2 => ChangeError::Known(self.id()),
            3 => ChangeError::AddressInUse {
                address: self.address(),
                by: self.id(),
            },
            4 => ChangeError::NoVoters,
            5 => ChangeError::Lags(self.id(), self.number()),
            6 => ChangeError::Timing(self.timing()),
            7 => ChangeError::NoQuorum,
            8 => ChangeError::Witness(self.id()),
            9 => ChangeError::NobodyToLead,
            _ => ChangeError::Unreadable,
        };
        match self.below(8) {
            0 => Refusal::NoLeader,
            1 => Refusal::Transferring,
            2 => Refusal::Busy,
            3 => Refusal::DiskFull,
            4 => Refusal::Condition,
            5 => Refusal::Unknown,
            6 => Refusal::Witness,
            _ => Refusal::Change(error),
        }
    }

    fn role(&mut self) -> Role {
        [Role::Voter, Role::Learner][self.below(2) as usize]
    }

    fn member(&mut self) -> Member {
        Member {
            id: self.id(),
            incarnation: self.maybe(Self::number),
            address: self.address(),
            role: self.maybe(Self::role),
            next_role: self.maybe(Self::role),
            promote_when_caught_up: self.truth(),
            priority: self.number() as u32,
            witness: self.truth(),
        }
    }

    fn base(&mut self) -> Base {
        Base {
            position: self.position(),
            membership: Membership {
                version: self.number(),
                members: self.some(Self::member),
                timing: self.maybe(Self::timing),
            },
        }
    }

    fn ballot(&mut self) -> Ballot {
        [Ballot::Pre, Ballot::Real, Ballot::Transfer][self.below(3) as usize]
    }

    fn body(&mut self) -> Body {
        match self.below(16) {
            0 => Body::Vote(Vote {
                number: self.number(),
                ballot: self.ballot(),
                last: self.position(),
            }),
            1 => Body::VoteReply(VoteReply {
                number: self.number(),
                ballot: self.ballot(),
                granted: self.truth(),
                promise: self.number(),
            }),
            2 => Body::Append(Append {
                stamp: self.stamp(),
                prev: self.position(),
                committed: self.number(),
                settled: self.number(),
                entries: self.some(Self::entry).into(),
            }),
            3 => Body::AppendReply(AppendReply {
                stamp: self.stamp(),
                promise: self.number(),
                outcome: match (self.truth(), self.truth()) {
                    (true, true) => AppendOutcome::Heard,
                    (true, false) => AppendOutcome::Matched(self.number()),
                    (false, _) => AppendOutcome::Rejected {
                        prev: self.number(),
                        hint: self.position(),
                    },
                },
            }),
            4 => Body::Snapshot(self.piece()),
            5 => Body::SnapshotReply(SnapshotReply {
                transfer: self.number(),
                outcome: match self.below(3) {
                    0 => SnapshotOutcome::Stored(self.number()),
                    1 => SnapshotOutcome::Installed,
                    _ => SnapshotOutcome::Refused,
                },
            }),
            6 => Body::Forward(Forward {
                sequence: self.number(),
                proposal: self.proposal(),
            }),
            7 => Body::ForwardReply(ForwardReply {
                sequence: self.number(),
                outcome: match self.truth() {
                    true => Ok(self.position()),
                    false => Err(self.refusal()),
                },
            }),
            8 => Body::Read(Read {
                number: self.number(),
            }),
            9 => Body::ReadReply(ReadReply {
                number: self.number(),
                index: self.number(),
            }),
            10 => Body::Removed(self.number()),
            11 => Body::Heartbeat(Heartbeat {
                stamp: self.stamp(),
                committed: self.number(),
            }),
            12 => Body::Supply(Supply {
                last: self.position(),
                prev: self.position(),
                entries: self.some(Self::entry).into(),
            }),
            13 => Body::Borrow(self.number()),
            14 => Body::Lent(self.piece()),
            _ => Body::Campaign,
        }
    }

    fn piece(&mut self) -> Snapshot {
        Snapshot {
            transfer: self.number(),
            base: self.base(),
            content: match self.truth() {
                true => Content::Made(self.number()),
                false => Content::Kept {
                    length: self.number(),
                    checksum: self.number() as u32,
                },
            },
            offset: self.number(),
            data: self.payload(),
            done: self.truth(),
            elsewhere: self.maybe(Self::id),
        }
    }

    fn message(&mut self) -> Message {
        Message {
            cluster: self.number(),
            group: self.number(),
            from: self.id(),
            to: self.id(),
            from_incarnation: self.number(),
            to_incarnation: self.maybe(Self::number),
            boot: self.number(),
            term: self.number(),
            body: self.body(),
        }
    }
}

fn comes_back<T: Codec + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(bytes.clone()).as_ref(), Ok(value));
    let mut trailing = BytesMut::from(&bytes[..]);
    trailing.put_u8(0);
    assert_eq!(
        T::from_bytes(trailing.freeze()),
        Err(DecodeError::Trailing(1))
    );
}

#[test]
fn what_is_encoded_comes_back() {
    let mut any = Any(1);
    for _ in 0..3000 {
        comes_back(&any.message());
        comes_back(&any.entry());
        comes_back(&any.base());
        comes_back(&any.change());
        comes_back(&HardState {
            term: any.number(),
            vote: any.maybe(Any::id),
            committed: any.number(),
        });
        comes_back(&Identity {
            cluster: any.number(),
            replica: any.id(),
            incarnation: any.number(),
            boot: any.number(),
            founders: any.some(Any::member),
        });
    }
}

#[test]
fn a_message_is_no_longer_than_it_says() {
    let mut any = Any(2);
    for _ in 0..3000 {
        let message = any.message();
        assert!(
            message.to_bytes().len() <= message.bytes(),
            "{} > {}: {message:?}",
            message.to_bytes().len(),
            message.bytes()
        );
    }
}

#[test]
fn p48_truncated_bytes_are_an_error() {
    let mut any = Any(3);
    for _ in 0..300 {
        let bytes = any.message().to_bytes();
        for length in 0..bytes.len() {
            let cut = Message::from_bytes(bytes.slice(..length));
            assert!(matches!(cut, Err(DecodeError::Short(_))), "{cut:?}");
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut any = Any(4);
    for _ in 0..200 {
        let bytes = any.message().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Message::from_bytes(flipped.into());
        }
    }
}

#[test]
fn p48_noise_never_panics() {
    let mut any = Any(5);
    for _ in 0..20_000 {
        let mut noise: Vec<u8> = (0..any.below(120)).map(|_| any.number() as u8).collect();
        let _ = Entry::from_bytes(noise.clone().into());
        let _ = Identity::from_bytes(noise.clone().into());
        if let Some(version) = noise.first_mut() {
            *version = Message::VERSION;
        }
        let _ = Message::from_bytes(noise.into());
    }
}

fn golden_entry() -> Entry {
    Entry {
        position: Position::new(5, 2),
        kind: EntryKind::Command,
        time: 0x0102_0304_0506_0708,
        checksum: 0xaabb_ccdd,
        payload: Bytes::from_static(b"x=1"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A change of these bytes is a change of the format: old logs and other versions no longer understand each other.
#[test]
fn the_bytes_of_an_entry_are_these() {
    let expected = concat!(
        "0200000000000000", // term
        "0500000000000000", // index
        "01",               // kind
        "00",               // flags
        "0807060504030201", // time
        "ddccbbaa",         // checksum
        "00000000",         // extensions
        "03000000",         // payload
        "783d31",
    );
    assert_eq!(hex(&golden_entry().to_bytes()), expected);
}

#[test]
fn the_bytes_of_a_message_are_these() {
    let message = Message {
        cluster: 9,
        group: 1,
        from: ReplicaId(2),
        to: ReplicaId(3),
        from_incarnation: 0xf0,
        to_incarnation: Some(0xf1),
        boot: 4,
        term: 7,
        body: Body::Append(Append {
            stamp: Stamp {
                number: 0x11,
                sent: 0x12,
                round: 0x13,
            },
            prev: Position::new(4, 1),
            committed: 3,
            settled: 2,
            entries: [golden_entry()].into(),
        }),
    };
    let numbers = |numbers: &[u64]| -> String {
        let bytes = numbers.iter().map(|number| hex(&number.to_le_bytes()));
        bytes.collect()
    };
    let expected = [
        "01".to_owned(),                     // version
        numbers(&[9, 1, 2, 3, 0xf0]),        // cluster, group, from, to, from_incarnation
        "01".to_owned() + &numbers(&[0xf1]), // to_incarnation
        numbers(&[4, 7]),                    // boot, term
        "03".to_owned(),                     // an append
        numbers(&[0x11, 0x12, 0x13]),        // number, sent, round
        numbers(&[1, 4, 3, 2]),              // prev: term, index; committed; settled
        "01000000".to_owned(),               // one entry
        hex(&golden_entry().to_bytes()),
    ];
    assert_eq!(hex(&message.to_bytes()), expected.concat());
}

#[test]
fn p58_what_is_unknown_is_said_by_name() {
    let mut entry = golden_entry().to_bytes().to_vec();
    entry[16] = 77;
    let error = Entry::from_bytes(entry.clone().into()).unwrap_err();
    assert_eq!(error, DecodeError::Unknown("entry kind", 77));
    assert_eq!(
        error.to_string(),
        "unknown entry kind 77: written by a newer version, or damaged"
    );
    (entry[16], entry[17]) = (1, 1);
    let error = Entry::from_bytes(entry.into()).unwrap_err();
    assert_eq!(error, DecodeError::Unknown("entry flags", 1));

    let mut message = Any(6).message().to_bytes().to_vec();
    message[0] = 99;
    let error = Message::from_bytes(message.into()).unwrap_err();
    assert_eq!(error, DecodeError::Unknown("message version", 99));
}

#[test]
fn extensions_of_a_later_version_are_skipped() {
    let bytes = golden_entry().to_bytes();
    let mut extended = BytesMut::from(&bytes[..30]);
    extended.put_u32_le(2);
    extended.put_slice(b"??");
    extended.put_slice(&bytes[34..]);
    assert_eq!(Entry::from_bytes(extended.freeze()), Ok(golden_entry()));
}

#[test]
fn a_payload_shares_the_memory_it_was_read_from() {
    let bytes = golden_entry().to_bytes();
    let entry = Entry::from_bytes(bytes.clone()).unwrap();
    let end = bytes.as_ptr_range().end;
    assert_eq!(
        entry.payload.as_ptr_range().end,
        end,
        "the payload was copied"
    );
}
