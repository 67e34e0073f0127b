//! What the members say of themselves: etcd's member attributes. Each proposes its own when it starts.

use std::collections::BTreeMap;

use prost::Message;

use crate::proto::command::{AttributesOfAll, MemberAttributes};

/// By the members' ids.
pub type Attributes = BTreeMap<u64, MemberAttributes>;

/// The stored form, and its CRC-32C.
pub fn encode(attributes: &Attributes) -> Vec<u8> {
    let members = attributes.values().cloned().collect();
    let mut stored = AttributesOfAll { members }.encode_to_vec();
    let checksum = crc32c::crc32c(&stored);
    stored.extend_from_slice(&checksum.to_le_bytes());
    stored
}

/// Reads what [`encode`] wrote; `None` if it is not that.
pub fn decode(stored: &[u8]) -> Option<Attributes> {
    let (body, checksum) = stored.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let members = AttributesOfAll::decode(body).ok()?.members;
    Some(members.into_iter().map(|it| (it.id, it)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_back_and_any_flipped_bit_is_noticed() {
        let one = |id: u64| MemberAttributes {
            id,
            name: format!("m{id}"),
            client_urls: vec![format!("http://127.0.0.1:{id}")],
        };
        let attributes: Attributes = [(1, one(1)), (7, one(7))].into();
        let stored = encode(&attributes);
        assert_eq!(decode(&stored), Some(attributes));
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }
}
