//! Links that lose, repeat, delay and reorder, and that can be cut one way.

use std::collections::BTreeSet;

use crate::random::Random;
use crate::weather::{MICRO, MILLI, Weather};

/// What becomes of one message.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// After which delays a copy of it arrives.
    pub(crate) arrivals: Vec<u64>,
    /// After which delay its sender hears that it may be lost.
    pub(crate) unreachable: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    cut: BTreeSet<(u64, u64)>,
    pub(crate) storm_until: u64,
}

impl Network {
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: u64, to: u64) {
        self.cut.remove(&(from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.storm_until = 0;
    }

    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn fate(
        &self,
        now: u64,
        (from, to): (u64, u64),
        random: &mut Random,
        weather: &Weather,
    ) -> Fate {
        let loss = if now < self.storm_until {
            500
        } else {
            weather.loss
        };
        if self.is_cut(from, to) || random.chance(loss) {
            let unreachable = random.chance(300).then(|| random.below(50 * MILLI));
            return Fate {
                arrivals: Vec::new(),
                unreachable,
            };
        }
        let copies = 1 + u64::from(random.chance(weather.duplicates));
        let delay = |random: &mut Random| {
            let is_straggler = random.chance(weather.stragglers);
            let most = if is_straggler {
                weather.straggle_max
            } else {
                weather.delay_max
            };
            random.between(20 * MICRO, most)
        };
        Fate {
            arrivals: (0..copies).map(|_| delay(random)).collect(),
            unreachable: None,
        }
    }
}
