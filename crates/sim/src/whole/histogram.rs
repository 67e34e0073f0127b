//! A small state machine that is right: what the command line runs, and an example.

use std::collections::BTreeMap;
use std::io::{self, Read};

use little_raft::{Entry, ResponseCodec, StateMachine};

/// How often each byte was proposed; answers with how often, this time included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub BTreeMap<u8, u64>);

impl StateMachine for Histogram {
    type Response = u64;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) -> u64 {
        let count = self.0.entry(entry.command[0]).or_default();
        *count += 1;
        *count
    }
    fn snapshot(&self) -> io::Result<Vec<u8>> {
        let pairs = self.0.iter();
        let pairs = pairs.flat_map(|(byte, count)| [*byte].into_iter().chain(count.to_le_bytes()));
        Ok(pairs.collect())
    }
    fn restore(&mut self, snapshot: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        snapshot.read_to_end(&mut bytes)?;
        let count = |pair: &[u8]| u64::from_le_bytes(pair[1..].try_into().expect("eight bytes"));
        let pairs = bytes.chunks(9).map(|pair| (pair[0], count(pair)));
        self.0 = pairs.collect();
        Ok(())
    }
    fn response_codec() -> Option<ResponseCodec<u64>> {
        Some(ResponseCodec::new())
    }
    fn digest(&self) -> Option<u64> {
        let fold = |sum: u64, (byte, count): (&u8, &u64)| {
            (sum ^ u64::from(*byte) ^ count << 8).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        Some(self.0.iter().fold(1, fold))
    }
}
