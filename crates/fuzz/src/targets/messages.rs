//! What the core decodes: messages from peers, and whatever the log and its files hold in the same encoding.

use std::fmt::Debug;

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft_core::{Base, Codec, Entry, HardState, Identity, Membership, Message, Proposal};

use crate::memory::within;
use crate::mutate::mutate;
use crate::values;

/// The smallest encoding of a member takes 21 bytes, in memory it has 96.
const BYTES_A_BYTE: usize = 16;
const SLACK_BYTES: usize = 1 << 10;

pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=9)? {
        0 => check(u, values::identity),
        1 => check(u, values::base),
        2 => check(u, values::hard_state),
        3 => check(u, values::membership),
        4 => check(u, values::entry),
        5 => check(u, values::proposal),
        6 => garbage(u),
        _ => check(u, values::message),
    }
}

/// A valid value is read back as it was, and a damaged one not at all, or as what the damage made of it.
fn check<T: Codec + PartialEq + Debug>(
    u: &mut Unstructured<'_>,
    make: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<()> {
    let value = make(u)?;
    let encoded = value.to_bytes();
    assert_eq!(T::from_bytes(encoded.clone()), Ok(value));
    let mut damaged = encoded.to_vec();
    mutate(u, &mut damaged)?;
    decode::<T>(damaged);
    Ok(())
}

fn garbage(u: &mut Unstructured<'_>) -> Result<()> {
    let bytes = u.bytes(u.len())?.to_vec();
    decode::<Message>(bytes.clone());
    decode::<Identity>(bytes.clone());
    decode::<Base>(bytes.clone());
    decode::<HardState>(bytes.clone());
    decode::<Membership>(bytes.clone());
    decode::<Entry>(bytes.clone());
    decode::<Proposal>(bytes);
    Ok(())
}

fn decode<T: Codec + PartialEq + Debug>(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let bound = BYTES_A_BYTE * bytes.len() + SLACK_BYTES;
    let decoded = within(bound, || T::from_bytes(bytes.clone()));
    if let Ok(value) = decoded {
        assert_eq!(T::from_bytes(value.to_bytes()), Ok(value));
    }
}
