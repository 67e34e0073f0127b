//! The small seeded generator behind election timeouts.

use crate::Config;
use crate::plant::planted;

/// SplitMix64: enough to spread timeouts, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Id and boot are mixed in, so that replicas don't draw the same timeouts.
    pub(crate) fn new(config: &Config) -> Self {
        let (id, boot) = (config.id.0.rotate_left(32), config.boot.rotate_left(16));
        Self(planted!(P11, 0, config.seed ^ id ^ boot))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
