//! How the types become bytes, on the wire and in the log: little-endian, fixed order, every length limited.
//!
//! Decoding never panics, and allocates no more than the input is long (rule 11).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    Base, Change, ChangeError, Conditions, Entry, EntryKind, HardState, Identity, Member,
    Membership, Position, Proposal, Refusal, ReplicaId, Role, Timing,
};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside the named thing.
    Short(&'static str),
    /// The named thing has a value that this version does not know.
    Unknown(&'static str, u64),
    /// Bytes were left over.
    Trailing(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(what) => write!(f, "the input ends inside {what}"),
            Self::Unknown(what, value) => {
                write!(
                    f,
                    "unknown {what} {value}: written by a newer version, or damaged"
                )
            }
            Self::Trailing(count) => write!(f, "{count} bytes are left over"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A type with a stable layout in bytes.
pub trait Codec: Sized {
    /// Appends the encoding of `self` to `out`.
    fn encode(&self, out: &mut BytesMut);

    /// Takes one value off the front of `input`. Payloads share the input's memory.
    ///
    /// # Errors
    /// When the input is too short or has a value this version does not know; `input` is then in no defined place.
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError>;

    /// The encoding on its own.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    /// Decodes a value that fills the whole input.
    ///
    /// # Errors
    /// As [`Codec::decode`], and when bytes are left over.
    fn from_bytes(mut input: Bytes) -> Result<Self, DecodeError> {
        let value = Self::decode(&mut input)?;
        if input.is_empty() {
            Ok(value)
        } else {
            Err(DecodeError::Trailing(input.len()))
        }
    }
}

pub(crate) fn unknown<T>(what: &'static str, value: impl Into<u64>) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown(what, value.into()))
}

macro_rules! codec_number {
    ($($number:ty: $put:ident $take:ident;)*) => {$(
        impl Codec for $number {
            fn encode(&self, out: &mut BytesMut) {
                out.$put(*self);
            }
            fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
                input.$take().or(Err(DecodeError::Short("a number")))
            }
        }
    )*};
}

/// In nanoseconds.
impl Codec for Duration {
    fn encode(&self, out: &mut BytesMut) {
        (self.as_nanos() as u64).encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self::from_nanos)
    }
}

codec_number! {
    u8: put_u8 try_get_u8;
    u32: put_u32_le try_get_u32_le;
    u64: put_u64_le try_get_u64_le;
}

impl Codec for bool {
    fn encode(&self, out: &mut BytesMut) {
        u8::from(*self).encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => unknown("flag", other),
        }
    }
}

impl Codec for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        (self.len() as u32).encode(out);
        out.extend_from_slice(self);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let length = u32::decode(input)? as usize;
        if input.len() < length {
            return Err(DecodeError::Short("a payload"));
        }
        Ok(input.split_to(length))
    }
}

impl Codec for String {
    fn encode(&self, out: &mut BytesMut) {
        Bytes::copy_from_slice(self.as_bytes()).encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let bytes = Bytes::decode(input)?;
        String::from_utf8(bytes.to_vec()).or_else(|_| unknown("text of bytes", bytes.len() as u64))
    }
}

impl<T: Codec> Codec for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        self.is_some().encode(out);
        self.iter().for_each(|value| value.encode(out));
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        bool::decode(input)?.then(|| T::decode(input)).transpose()
    }
}

impl<T: Codec, E: Codec> Codec for Result<T, E> {
    fn encode(&self, out: &mut BytesMut) {
        self.is_ok().encode(out);
        match self {
            Ok(value) => value.encode(out),
            Err(error) => error.encode(out),
        }
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match bool::decode(input)? {
            true => Ok(T::decode(input)?),
            false => Err(E::decode(input)?),
        })
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        encode_list(self, out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        // Grown as items prove to be there: a count from outside reserves nothing.
        (0..u32::decode(input)?).map(|_| T::decode(input)).collect()
    }
}

impl<T: Codec> Codec for Arc<[T]> {
    fn encode(&self, out: &mut BytesMut) {
        encode_list(self, out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Vec::decode(input).map(Self::from)
    }
}

fn encode_list<T: Codec>(list: &[T], out: &mut BytesMut) {
    (list.len() as u32).encode(out);
    list.iter().for_each(|item| item.encode(out));
}

/// Implements [`Codec`] for a struct whose fields follow each other in the given order, perhaps after a version.
macro_rules! codec_struct {
    ($($name:ident $(after $version:path)? { $($field:ident),* $(,)? })*) => {$(
        impl $crate::Codec for $name {
            fn encode(&self, out: &mut bytes::BytesMut) {
                $(u8::encode(&$version, out);)?
                $($crate::Codec::encode(&self.$field, out);)*
            }
            fn decode(input: &mut bytes::Bytes) -> Result<Self, $crate::DecodeError> {
                $(match u8::decode(input)? {
                    version if version == $version => {}
                    other => return $crate::codec::unknown("message version", other),
                })?
                $(let $field = $crate::Codec::decode(input)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}
pub(crate) use codec_struct;

/// Implements [`Codec`] for an enum: a byte that tells the variant, then what the variant holds.
macro_rules! codec_enum {
    ($($name:ident as $what:literal {
        $($variant:ident $(($($held:ident),*))? $({ $($field:ident),* })? = $tag:literal),* $(,)?
    })*) => {$(
        impl $crate::Codec for $name {
            fn encode(&self, out: &mut bytes::BytesMut) {
                match self {$(
                    Self::$variant $(($($held),*))? $({ $($field),* })? => {
                        u8::encode(&$tag, out);
                        $($($crate::Codec::encode($held, out);)*)?
                        $($($crate::Codec::encode($field, out);)*)?
                    }
                )*}
            }
            fn decode(input: &mut bytes::Bytes) -> Result<Self, $crate::DecodeError> {
                match u8::decode(input)? {
                    $($tag => {
                        $($(let $held = $crate::Codec::decode(input)?;)*)?
                        $($(let $field = $crate::Codec::decode(input)?;)*)?
                        Ok(Self::$variant $(($($held),*))? $({ $($field),* })?)
                    })*
                    other => $crate::codec::unknown($what, other),
                }
            }
        }
    )*};
}
pub(crate) use codec_enum;

impl Codec for ReplicaId {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

codec_enum! {
    EntryKind as "entry kind" { Noop = 0, Command = 1, Membership = 2, Commands = 3, Session = 4, Digest = 5 }
    Role as "member role" { Voter = 0, Learner = 1 }
    Refusal as "refusal" {
        NoLeader = 0, Transferring = 1, Busy = 2, DiskFull = 3, Condition = 4, Change(error) = 5, Unknown = 6,
        Witness = 7,
    }
    Change as "change" {
        Add { id, address, role, priority, witness } = 0, Remove(id) = 1, SetRole(id, role) = 2, SetAddress(id, address) = 3,
        SetPriority(id, priority) = 4, Bind(id, incarnation) = 5, SetTiming(timing) = 6,
    }
    ChangeError as "change error" {
        UnderWay = 0, Unknown(id) = 1, Known(id) = 2, AddressInUse { address, by } = 3, NoVoters = 4,
        Lags(id, entries) = 5, Timing(timing) = 6, Unreadable = 7,
        NoQuorum = 8, Witness(id) = 9, NobodyToLead = 10,
    }
}

codec_struct! {
    Position { term, index }
    HardState { term, vote, committed }
    Member { id, incarnation, address, role, next_role, promote_when_caught_up, priority, witness }
    Membership { version, members, timing }
    Timing { heartbeat, election }
    Conditions { leader_term, members_version, index_max }
    Proposal { kind, checksum, payload, conditions }
    Base { position, membership }
    Identity { cluster, replica, incarnation, boot, founders }
}

impl Codec for Entry {
    fn encode(&self, out: &mut BytesMut) {
        self.position.encode(out);
        self.kind.encode(out);
        0u8.encode(out); // flags: none yet
        self.time.encode(out);
        self.checksum.encode(out);
        0u32.encode(out); // extensions: none yet, skipped by length
        self.payload.encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let (position, kind) = (Position::decode(input)?, EntryKind::decode(input)?);
        let flags = u8::decode(input)?;
        if flags != 0 {
            return unknown("entry flags", flags);
        }
        let (time, checksum) = (u64::decode(input)?, u32::decode(input)?);
        let _extensions = Bytes::decode(input)?;
        Ok(Self {
            position,
            kind,
            time,
            checksum,
            payload: Bytes::decode(input)?,
        })
    }
}
