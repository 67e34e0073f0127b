//! Damage to bytes: what bad memory, bad disks, cut connections and other programs do to them.

use arbtest::arbitrary::{Result, Unstructured};

const MUTATIONS_MAX: usize = 6;
/// Lengths and numbers that code gets wrong.
const ENDS: &[u64] = &[
    0,
    1,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_fff0,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];
const INSERTED_MAX: usize = 64;

/// Damages `bytes` in none up to some places.
pub fn mutate(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=MUTATIONS_MAX)? {
        mutate_once(u, bytes)?;
    }
    Ok(())
}

fn mutate_once(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    let place = u.int_in_range(0..=bytes.len())?;
    let rest = bytes.len() - place;
    match u.int_in_range(0..=7)? {
        0 if rest > 0 => bytes[place] ^= 1 << u.int_in_range(0..=7)?,
        1 if rest > 0 => bytes[place] = u.arbitrary()?,
        2 => overwrite(&mut bytes[place..], &u.choose(ENDS)?.to_le_bytes()[..4]),
        3 => overwrite(&mut bytes[place..], &u.choose(ENDS)?.to_le_bytes()),
        4 => bytes.truncate(place),
        5 => drop(bytes.drain(place..place + u.int_in_range(0..=rest)?)),
        6 => {
            let again = bytes[place..place + u.int_in_range(0..=rest.min(INSERTED_MAX))?].to_vec();
            bytes.splice(place..place, again);
        }
        _ => {
            let count = u.int_in_range(0..=INSERTED_MAX)?;
            let inserted = u.bytes(count.min(u.len()))?.to_vec();
            bytes.splice(place..place, inserted);
        }
    }
    Ok(())
}

fn overwrite(room: &mut [u8], with: &[u8]) {
    let count = room.len().min(with.len());
    room[..count].copy_from_slice(&with[..count]);
}

/// Writes a checksum over what it is meant to cover; nothing if that is not there any more.
pub fn put_checksum(bytes: &mut [u8], at: usize, covered: std::ops::Range<usize>) {
    if let Some(covered) = bytes.get(covered) {
        let checksum = crc32c::crc32c(covered);
        if let Some(room) = bytes.get_mut(at..at + 4) {
            room.copy_from_slice(&checksum.to_le_bytes());
        }
    }
}

/// The number at a place; zero if the bytes end before it.
pub fn number_at(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u32::from_le_bytes(*number))
}
