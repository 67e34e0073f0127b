//! Links that lose, repeat, delay and reorder, that can be narrow, and that can be cut one way.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::Random;
use crate::weather::{MICRO, MILLI, SECOND, Weather};

/// What becomes of one message.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// After which delays a copy of it arrives.
    pub(crate) arrivals: Vec<u64>,
    /// After which delay its sender hears that it may be lost.
    pub(crate) unreachable: Option<u64>,
}

/// What a message is to a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) bytes: usize,
    pub(crate) is_urgent: bool,
}

/// A link that is slow: far away, or narrow.
#[derive(Debug)]
struct Slow {
    delay: u64,
    bytes_per_second: u64,
    /// When all that must keep its order will have left.
    free_at: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    cut: BTreeSet<(u64, u64)>,
    slow: BTreeMap<(u64, u64), Slow>,
    pub(crate) storm_until: u64,
    /// Until then whoever is elected is cut off soon after, each with what it alone has.
    pub(crate) strand_until: u64,
}

/// What would have to wait longer for a narrow link is dropped.
const QUEUE_MAX: u64 = SECOND;

impl Network {
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub(crate) fn slow_down(&mut self, link: (u64, u64), delay: u64, bytes_per_second: u64) {
        let slow = Slow {
            delay,
            bytes_per_second,
            free_at: 0,
        };
        self.slow.insert(link, slow);
    }

    pub(crate) fn mend(&mut self, from: u64, to: u64) {
        self.cut.remove(&(from, to));
        self.slow.remove(&(from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.slow.clear();
        (self.storm_until, self.strand_until) = (0, 0);
    }

    pub(crate) fn fate(
        &mut self,
        now: u64,
        link: (u64, u64),
        parcel: Parcel,
        random: &mut Random,
        weather: &Weather,
    ) -> Fate {
        let is_stormy = now < self.storm_until;
        let loss = if is_stormy { 500 } else { weather.loss };
        let wait = self
            .slow
            .get_mut(&link)
            .map_or(0, |it| it.wait(now, parcel));
        if self.cut.contains(&link) || wait > QUEUE_MAX || random.chance(loss) {
            return Fate {
                arrivals: Vec::new(),
                unreachable: random.chance(300).then(|| random.below(50 * MILLI)),
            };
        }
        let copies = 1 + u64::from(random.chance(weather.duplicates));
        // What arrives is not known to have arrived while nothing comes back.
        let is_silent = self.cut.contains(&(link.1, link.0));
        let is_doubted = is_silent && random.chance(300);
        Fate {
            arrivals: (0..copies).map(|_| wait + delay(random, weather)).collect(),
            unreachable: is_doubted.then(|| random.below(50 * MILLI)),
        }
    }
}

impl Slow {
    /// How much later than usual a message arrives. What is urgent has a connection of its own.
    fn wait(&mut self, now: u64, parcel: Parcel) -> u64 {
        let takes = parcel.bytes as u64 * SECOND / self.bytes_per_second;
        if parcel.is_urgent {
            return takes + self.delay;
        }
        let ends = self.free_at.max(now) + takes;
        if ends - now <= QUEUE_MAX {
            self.free_at = ends;
        }
        ends - now + self.delay
    }
}

fn delay(random: &mut Random, weather: &Weather) -> u64 {
    let most = match random.chance(weather.stragglers) {
        true => weather.straggle_max,
        false => weather.delay_max,
    };
    weather.some(random, 20 * MICRO, most)
}
