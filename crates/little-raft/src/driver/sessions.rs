//! Which commands were proposed under sessions, and what they were answered: a part of the replicated state, the same
//! on every replica at one index, and in every snapshot (P56).

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use little_raft_core::{Base, Codec, DecodeError, EntryKind};

use crate::error::ProposeError;
use crate::machine::LibraryState;
use crate::session::Once;

/// More sessions than this, and the one used least recently is forgotten.
const SESSIONS_MAX: usize = 4_096;
/// How many responses are kept of one session.
const ANSWERED_MAX: usize = 1_024;
/// How many bytes of responses are kept of all: a durable machine stores them with every batch.
const BYTES_MAX: usize = 1 << 20;
/// What a response counts for beside its bytes.
const OVERHEAD_BYTES: usize = 16;

/// The payload of an entry of kind [`EntryKind::Session`].
#[derive(Debug, PartialEq, Eq)]
pub enum SessionCommand {
    /// A session begins; it is named by the entry's index.
    Register,
    /// What an entry of this kind and payload asks for, once.
    Once(Once, EntryKind, Bytes),
}

impl Codec for SessionCommand {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Register => 0u8.encode(out),
            Self::Once(once, kind, payload) => {
                1u8.encode(out);
                once.encode(out);
                kind.encode(out);
                payload.encode(out);
            }
        }
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::Register),
            1 => Ok(Self::Once(
                Once::decode(input)?,
                EntryKind::decode(input)?,
                Bytes::decode(input)?,
            )),
            other => Err(DecodeError::Unknown("session command", other.into())),
        }
    }
}

/// All sessions of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    by_id: BTreeMap<u64, Known>,
    /// The index at which each was used last, and its id: whoever comes first is forgotten first.
    by_use: BTreeMap<u64, u64>,
    bytes: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    used: u64,
    /// Responses of lower numbers are not kept any more.
    settled: u64,
    answered: BTreeMap<u64, Answered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    /// Of the command, to tell a retry from another command under the same number.
    checksum: u32,
    response: Bytes,
}

impl Sessions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A session begins at `index`.
    pub fn register(&mut self, index: u64) {
        let known = Known {
            used: index,
            ..Known::default()
        };
        self.by_id.insert(index, known);
        self.by_use.insert(index, index);
        while self.by_id.len() > SESSIONS_MAX {
            self.forget_oldest();
        }
    }

    /// An attempt at a command, by the entry at `index`: the first attempt's response, or none if this is the first.
    ///
    /// # Errors
    /// If the session, or its number, is not known any more or is taken by another command. Nothing may be applied then.
    pub fn attempt(
        &mut self,
        index: u64,
        once: Once,
        checksum: u32,
    ) -> Result<Option<Bytes>, ProposeError> {
        let Once {
            session, number, ..
        } = once;
        let known = self.by_id.get_mut(&session);
        let known = known.ok_or(ProposeError::SessionExpired { session })?;
        self.by_use.remove(&known.used);
        self.by_use.insert(index, session);
        known.used = index;
        self.bytes -= known.settle(once.settled);
        if number < known.settled {
            return Err(ProposeError::Settled { number });
        }
        match known.answered.get(&number) {
            Some(answered) if answered.checksum != checksum => {
                Err(ProposeError::NumberTaken { number })
            }
            answered => Ok(answered.map(|answered| answered.response.clone())),
        }
    }

    /// What the first attempt, made just now, was answered.
    ///
    /// # Panics
    /// If the session is not known: [`attempt`](Self::attempt) has found it.
    pub fn answered(&mut self, once: Once, checksum: u32, response: Bytes) {
        let known = self.by_id.get_mut(&once.session);
        let known = known.expect("a session in use is known");
        self.bytes += response.len() + OVERHEAD_BYTES;
        let answered = Answered { checksum, response };
        known.answered.insert(once.number, answered);
        while known.answered.len() > ANSWERED_MAX {
            self.bytes -= known.settle_first();
        }
        while self.bytes > BYTES_MAX && self.by_id.len() > 1 {
            self.forget_oldest();
        }
        while self.bytes > BYTES_MAX {
            let alone = self.by_id.values_mut().next();
            self.bytes -= alone.map_or(self.bytes, Known::settle_first);
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_use.pop_first();
        let known = oldest.and_then(|(_, id)| self.by_id.remove(&id));
        self.bytes -= known.map_or(0, |known| known.bytes());
    }
}

impl Known {
    fn bytes(&self) -> usize {
        self.answered.values().map(Answered::bytes).sum()
    }

    /// Forgets the responses below this number; says how many bytes they were.
    fn settle(&mut self, number: u64) -> usize {
        self.settled = self.settled.max(number);
        let kept = self.answered.split_off(&self.settled);
        let settled = std::mem::replace(&mut self.answered, kept);
        settled.values().map(Answered::bytes).sum()
    }

    fn settle_first(&mut self) -> usize {
        let first = self.answered.keys().next().copied();
        first.map_or(0, |number| self.settle(number + 1))
    }
}

impl Answered {
    fn bytes(&self) -> usize {
        self.response.len() + OVERHEAD_BYTES
    }
}

impl Codec for Answered {
    fn encode(&self, out: &mut BytesMut) {
        self.checksum.encode(out);
        self.response.encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            checksum: Codec::decode(input)?,
            response: Codec::decode(input)?,
        })
    }
}

impl Codec for Known {
    fn encode(&self, out: &mut BytesMut) {
        self.used.encode(out);
        self.settled.encode(out);
        encode_map(&self.answered, out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            used: Codec::decode(input)?,
            settled: Codec::decode(input)?,
            answered: decode_map(input)?,
        })
    }
}

impl Codec for Sessions {
    fn encode(&self, out: &mut BytesMut) {
        encode_map(&self.by_id, out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let by_id: BTreeMap<u64, Known> = decode_map(input)?;
        Ok(Self {
            by_use: by_id.iter().map(|(id, known)| (known.used, *id)).collect(),
            bytes: by_id.values().map(Known::bytes).sum(),
            by_id,
        })
    }
}

impl LibraryState {
    pub(crate) fn new(base: &Base, sessions: &Sessions) -> Self {
        let mut out = BytesMut::new();
        base.encode(&mut out);
        sessions.encode(&mut out);
        Self(out.freeze())
    }

    pub(crate) fn read(&self) -> Result<(Base, Sessions), DecodeError> {
        let mut input = self.0.clone();
        let base = Base::decode(&mut input)?;
        Ok((base, Sessions::from_bytes(input)?))
    }
}

fn encode_map<V: Codec>(map: &BTreeMap<u64, V>, out: &mut BytesMut) {
    (map.len() as u32).encode(out);
    for (key, value) in map {
        key.encode(out);
        value.encode(out);
    }
}

fn decode_map<V: Codec>(input: &mut Bytes) -> Result<BTreeMap<u64, V>, DecodeError> {
    let count = u32::decode(input)?;
    let pairs = (0..count).map(|_| Ok((u64::decode(input)?, V::decode(input)?)));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(session: u64, number: u64, settled: u64) -> Once {
        Once {
            session,
            number,
            settled,
        }
    }

    /// As the applier does it: the response, if it is or was applied.
    fn propose(
        sessions: &mut Sessions,
        index: u64,
        once: Once,
        command: u32,
        response: &'static [u8],
    ) -> Result<Bytes, ProposeError> {
        match sessions.attempt(index, once, command)? {
            Some(before) => Ok(before),
            None => {
                let response = Bytes::from_static(response);
                sessions.answered(once, command, response.clone());
                Ok(response)
            }
        }
    }

    fn check(sessions: &Sessions) {
        let bytes: usize = sessions.by_id.values().map(Known::bytes).sum();
        assert_eq!(sessions.bytes, bytes);
        assert!(bytes <= BYTES_MAX && sessions.by_id.len() <= SESSIONS_MAX);
        let by_use = sessions.by_id.iter().map(|(id, known)| (known.used, *id));
        assert_eq!(sessions.by_use, by_use.collect());
        let copy = Sessions::from_bytes(sessions.to_bytes());
        assert_eq!(copy.as_ref(), Ok(sessions), "a snapshot keeps all of it");
    }

    #[test]
    fn p56_a_retry_is_answered_as_the_first_attempt_was() {
        let mut sessions = Sessions::default();
        sessions.register(5);
        let first = propose(&mut sessions, 6, once(5, 1, 1), 77, b"first");
        assert_eq!(first.as_deref(), Ok(&b"first"[..]));
        check(&sessions);
        let mut restored = Sessions::from_bytes(sessions.to_bytes()).expect("just encoded");
        let again = propose(&mut restored, 9, once(5, 1, 1), 77, b"second");
        assert_eq!(again.as_deref(), Ok(&b"first"[..]));
    }

    /// What is wrong with an attempt is said by name, and nothing is applied.
    #[test]
    fn attempts_that_cant_be_kept_apart_are_refused() {
        let mut sessions = Sessions::default();
        sessions.register(5);
        propose(&mut sessions, 6, once(5, 1, 1), 77, b"1").expect("the first");
        propose(&mut sessions, 7, once(5, 2, 2), 78, b"2").expect("the second");
        let cases = [
            (
                once(4, 1, 1),
                77,
                ProposeError::SessionExpired { session: 4 },
            ),
            (once(5, 1, 1), 77, ProposeError::Settled { number: 1 }),
            (once(5, 2, 2), 99, ProposeError::NumberTaken { number: 2 }),
            (once(5, 3, 9), 80, ProposeError::Settled { number: 3 }),
        ];
        for (index, (once, command, error)) in (8..).zip(cases) {
            let refused = propose(&mut sessions, index, once, command, b"never");
            assert_eq!(refused, Err(error));
            check(&sessions);
        }
    }

    #[test]
    fn the_session_used_least_recently_is_forgotten_beyond_the_bound() {
        let mut sessions = Sessions::default();
        let count = SESSIONS_MAX as u64;
        (1..=count).for_each(|index| sessions.register(index));
        propose(&mut sessions, count + 1, once(1, 1, 1), 7, b"used").expect("it is known");
        sessions.register(count + 2);
        check(&sessions);
        let expired = propose(&mut sessions, count + 3, once(2, 1, 1), 7, b"");
        assert_eq!(expired, Err(ProposeError::SessionExpired { session: 2 }));
        let kept = propose(&mut sessions, count + 4, once(1, 1, 1), 7, b"");
        assert_eq!(kept.as_deref(), Ok(&b"used"[..]));
    }

    #[test]
    fn responses_are_kept_up_to_a_count_and_up_to_a_size() {
        let mut sessions = Sessions::default();
        sessions.register(1);
        let count = ANSWERED_MAX as u64 + 1;
        for number in 1..=count {
            propose(&mut sessions, 1 + number, once(1, number, 1), 7, b"").expect("it is new");
        }
        check(&sessions);
        let oldest = propose(&mut sessions, 2 * count, once(1, 1, 1), 7, b"");
        assert_eq!(oldest, Err(ProposeError::Settled { number: 1 }));
        let large: &'static [u8] = &[7; BYTES_MAX / 2];
        sessions.register(3 * count);
        for (number, settled) in [(1, 1), (2, 1), (3, 1)] {
            let (index, once) = (3 * count + number, once(3 * count, number, settled));
            propose(&mut sessions, index, once, 7, large).expect("it is new");
            check(&sessions);
        }
        assert_eq!(sessions.by_id.len(), 1, "others went first");
    }
}
