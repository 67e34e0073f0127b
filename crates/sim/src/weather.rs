//! How rough a run is: drawn once from the seed, so that each run is rough in its own way.

use std::time::Duration;

use little_raft_core::{Config, Leases, ReplicaId, Timing};

use crate::mix::{Fault, Faults};
use crate::random::Random;
use crate::run::Options;

pub(crate) const MICRO: u64 = 1_000;
pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;

#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// So many found the group.
    pub(crate) replicas: u64,
    /// So many more may be added to it.
    pub(crate) spares: u64,
    /// Which of all these are witnesses.
    pub(crate) witnesses: Vec<u64>,
    /// Who would rather have a snapshot from whom than from the leader: pairs of the two.
    nearest: Vec<(u64, u64)>,
    pub(crate) timing: Timing,
    /// Whether reads are served by promises, and how far clocks are trusted for that.
    leases: Option<Leases>,
    /// By so many millionths clocks run too fast or too slow, at most.
    pub(crate) drift: u64,
    /// Equal things take equally long, and all that starts together starts at one instant.
    pub(crate) is_symmetric: bool,
    /// So often it is rough, then calm again.
    pub(crate) rounds: u64,
    /// So long faults go on.
    pub(crate) duration: u64,
    pub(crate) faults: Vec<Fault>,
    /// The mean time between two faults.
    pub(crate) fault_every: u64,
    /// In so many of a thousand cases what is cut, slow or full is mended before the next fault.
    pub(crate) mending: u64,
    /// The longest a crashed replica stays down.
    pub(crate) down_max: u64,
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    pub(crate) stragglers: u64,
    pub(crate) delay_max: u64,
    pub(crate) straggle_max: u64,
    pub(crate) flush_max: u64,
    pub(crate) slow_flush_max: u64,
    /// So many queued writes share a flush.
    pub(crate) writes_per_flush: usize,
    pub(crate) apply_max: u64,
    pub(crate) slow_apply_max: u64,
    /// In so many of a thousand cases what was done is reported later, perhaps after what was done next.
    pub(crate) late_reports: u64,
    /// Whether clients rush to whoever leads.
    pub(crate) is_eager: bool,
    /// In so many of a thousand cases outputs wait for more inputs.
    pub(crate) lazy_drain: u64,
    pub(crate) propose_every: u64,
    pub(crate) payload_max: u64,
    pub(crate) reads: u64,
    /// After so many entries a snapshot is taken: each replica has one of these, and perhaps another at its next start.
    pub(crate) snapshot_every: Vec<u64>,
    pub(crate) snapshot_bytes: u64,
    pub(crate) piece_bytes: u64,
    /// So many entries are in memory after a restart.
    pub(crate) tail_max: u64,
    message_bytes_max: usize,
    in_flight_bytes_max: usize,
    in_flight_messages_max: usize,
    uncommitted_bytes_max: usize,
    cache_bytes_max: usize,
    apply_bytes_max: usize,
}

impl Weather {
    pub(crate) fn draw(random: &mut Random, options: &Options) -> Self {
        let replicas = options.replicas;
        let usual = [1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7];
        let allowed: Vec<u64> = usual
            .into_iter()
            .chain(replicas.0..=replicas.1)
            .filter(|n| (replicas.0..=replicas.1).contains(n))
            .collect();
        let mut faults = Fault::ALL.to_vec();
        faults.retain(|fault| *fault != Fault::SuspendLeader);
        // Few kinds meet each other often, many kinds meet all others.
        let kinds = random.pick(&[150, 300, 600]);
        faults.retain(|fault| random.chance(kinds) && options.faults.contains(*fault));
        let is_symmetric = random.chance(60);
        if is_symmetric {
            faults.retain(|fault| *fault == Fault::CrashAll);
        }
        let rough = if is_symmetric {
            0
        } else {
            random.pick(&[0, 1, 1, 2])
        };
        let drift = random.pick(&[0, 0, 1_000, 20_000]);
        let size = |random: &mut Random, small: &[usize]| {
            if random.chance(500) {
                random.pick(small)
            } else {
                1 << 20
            }
        };
        Self {
            replicas: random.pick(&allowed),
            spares: random.pick(&[0, 0, 1, 2, 3]),
            witnesses: Vec::new(),
            nearest: Vec::new(),
            timing: draw_timing(random),
            leases: random.chance(300).then(|| draw_leases(drift)),
            drift,
            is_symmetric,
            rounds: random.pick(&[1, 1, 2, 3]),
            duration: random.between(5, 20) * SECOND,
            faults,
            fault_every: random.pick(&[60, 150, 300, 600]) * MILLI,
            mending: random.pick(&[200, 600, 950]),
            down_max: random.pick(&[5, 100, 800]) * MILLI,
            loss: random.pick(&[0, 2, 20, 100]) * rough,
            duplicates: random.pick(&[0, 5, 50, 200]) * rough,
            stragglers: random.pick(&[0, 5, 30, 100]) * rough,
            delay_max: random.pick(&[300, 2_000, 10_000]) * MICRO,
            straggle_max: random.pick(&[20, 300, 2_000]) * MILLI,
            flush_max: random.pick(&[100, 2_000, 10_000]) * MICRO,
            slow_flush_max: random.pick(&[30, 300, 900]) * MILLI,
            writes_per_flush: random.pick(&[1, 3, 1_000]),
            apply_max: random.pick(&[50, 1_000]) * MICRO,
            slow_apply_max: random.pick(&[30, 300]) * MILLI,
            late_reports: random.pick(&[0, 0, 300]),
            is_eager: random.chance(400),
            lazy_drain: if is_symmetric {
                0
            } else {
                random.pick(&[0, 100, 600])
            },
            propose_every: random.pick(&[2_000, 5_000, 10_000, 20_000, 50_000]) * MICRO,
            payload_max: random.pick(&[8, 100, 2_000]),
            reads: random.pick(&[0, 300, 700]),
            snapshot_every: draw_snapshots(random),
            snapshot_bytes: random.pick(&[0, 300, 3_000]),
            piece_bytes: random.pick(&[100, 1_000, 100_000]),
            tail_max: random.pick(&[0, 3, 100_000]),
            message_bytes_max: size(random, &[1, 200, 1_000]),
            in_flight_bytes_max: size(random, &[1, 500, 4_000]),
            in_flight_messages_max: size(random, &[1, 2, 10]),
            uncommitted_bytes_max: size(random, &[500, 5_000]),
            cache_bytes_max: size(random, &[0, 300, 3_000]),
            apply_bytes_max: size(random, &[1, 200]),
        }
    }

    /// In some runs up to half of the founders are witnesses, and any of the spares may be.
    pub(crate) fn draw_witnesses(&mut self, random: &mut Random) {
        if self.replicas < 2 || !random.chance(250) {
            return;
        }
        let (begin, most) = (random.below(self.replicas), self.replicas / 2);
        let count = random.between(1, most);
        let founders = (begin..begin + count).map(|at| at % self.replicas + 1);
        let spares = (self.replicas + 1..=self.nodes()).filter(|_| random.chance(300));
        self.witnesses = founders.chain(spares).collect();
    }

    /// In half of the runs somebody is near to somebody.
    pub(crate) fn draw_nearest(&mut self, random: &mut Random) {
        let often = random.pick(&[0, 0, 100, 400]);
        for id in 1..=self.nodes() {
            let near = (1..=self.nodes()).filter(|_| random.chance(often));
            self.nearest.extend(near.map(|other| (id, other)));
        }
    }

    /// In some runs the leader's machine is suspended about as long as promises last; in half of these, reads rely on
    /// them.
    pub(crate) fn draw_suspensions(&mut self, wanted: Faults, random: &mut Random) {
        let can_be = !self.is_symmetric && wanted.contains(Fault::SuspendLeader);
        if !can_be || !random.chance(250) {
            return;
        }
        self.faults.push(Fault::SuspendLeader);
        self.leases = random.chance(500).then(|| draw_leases(self.drift));
        self.reads = self.reads.max(300);
    }

    pub(crate) fn limit(&self, config: Config) -> Config {
        let nearest = self.nearest.iter();
        let nearest = nearest.filter(|(id, _)| *id == config.id.0);
        Config {
            nearest: nearest.map(|(_, near)| ReplicaId(*near)).collect(),
            message_bytes_max: self.message_bytes_max,
            in_flight_bytes_max: self.in_flight_bytes_max,
            in_flight_messages_max: self.in_flight_messages_max,
            uncommitted_bytes_max: self.uncommitted_bytes_max,
            cache_bytes_max: self.cache_bytes_max,
            apply_bytes_max: self.apply_bytes_max,
            timing: self.timing,
            leases: self.leases,
            ..config
        }
    }

    /// The same limits, as a script's options.
    pub(crate) fn limits(&self) -> String {
        let lease = match &self.leases {
            Some(leases) => format!(" lease={}ms restarted=yes", leases.longest.as_millis()),
            None => String::new(),
        };
        let nearest = self.nearest.iter().map(|(id, near)| format!("{id}:{near}"));
        let nearest: Vec<String> = nearest.collect();
        let nearest = match nearest.is_empty() {
            true => String::new(),
            false => format!(" nearest={}", nearest.join(",")),
        };
        format!(
            " message={} window_bytes={} window={} uncommitted={} cache={} apply={}{lease}{nearest}",
            self.message_bytes_max,
            self.in_flight_bytes_max,
            self.in_flight_messages_max,
            self.uncommitted_bytes_max,
            self.cache_bytes_max,
            self.apply_bytes_max,
        )
    }

    /// How long something takes.
    pub(crate) fn some(&self, random: &mut Random, least: u64, most: u64) -> u64 {
        match self.is_symmetric {
            true => most,
            false => random.between(least, most),
        }
    }

    pub(crate) fn nodes(&self) -> u64 {
        self.replicas + self.spares
    }

    /// The sky clears: what is left are small delays.
    pub(crate) fn calm(&mut self) {
        self.loss = 0;
        self.duplicates = 0;
        self.stragglers = 0;
        self.delay_max = self.delay_max.min(2 * MILLI);
        self.flush_max = self.flush_max.min(2 * MILLI);
        self.apply_max = self.apply_max.min(100 * MICRO);
    }
}

/// Two clocks may part by twice the drift of one.
fn draw_leases(drift: u64) -> Leases {
    let longest = Duration::from_millis(400);
    Leases {
        longest,
        drift: longest * (2 * drift) as u32 / 1_000_000,
    }
}

fn draw_snapshots(random: &mut Random) -> Vec<u64> {
    let usual = [3, 20, 100, 100_000];
    match random.chance(500) {
        true => vec![random.pick(&usual)],
        false => usual.to_vec(),
    }
}

pub(crate) fn draw_timing(random: &mut Random) -> Timing {
    let election = random.pick(&[100, 200, 400]);
    Timing {
        heartbeat: Duration::from_millis(election / random.pick(&[2, 3, 5])),
        election: Duration::from_millis(election),
    }
}
