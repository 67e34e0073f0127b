//! What happens to bytes on their way from one server to another.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::random::Random;

/// How long TCP waits before it sends again what was lost.
const RETRANSMISSION_MS: (u64, u64) = (200, 800);

/// Whether anything passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    #[default]
    Open,
    /// Nothing arrives, and nobody is told; what waits arrives when it opens: late, but in order, as TCP does it.
    Held,
    /// Connections break, and new ones break at once.
    Refused,
}

/// One direction between two servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub passage: Passage,
    /// Each piece is so late, between these.
    pub delay_ms: (u64, u64),
    /// So many of a thousand pieces are lost and sent again, which holds up what is behind them.
    pub lost_permille: u64,
    /// With so many of a thousand pieces the connection breaks.
    pub broken_permille: u64,
    /// In so many of a thousand pieces a bit is flipped.
    pub flipped_permille: u64,
    pub bytes_per_second: Option<u64>,
}

/// By the ids of who speaks and who hears.
#[derive(Clone, Debug, Default)]
pub struct Links(BTreeMap<(u64, u64), Link>);

impl Links {
    pub fn get(&self, from: u64, to: u64) -> Link {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    pub fn change(&mut self, from: u64, to: u64, change: impl FnOnce(&mut Link)) {
        change(self.0.entry((from, to)).or_default());
    }

    pub fn mend(&mut self) {
        self.0.clear();
    }
}

/// One direction between two servers, as it is now and becomes.
#[derive(Clone)]
pub struct Way {
    from: u64,
    to: u64,
    links: watch::Receiver<Links>,
}

impl Way {
    pub fn new(from: u64, to: u64, links: watch::Receiver<Links>) -> Self {
        Self { from, to, links }
    }

    /// Ends when connections that need it break.
    pub async fn refused(mut self) {
        self.becomes(Passage::Refused).await;
    }

    /// Ends when what waits may arrive.
    pub async fn opened(&mut self) {
        self.becomes(Passage::Open).await;
    }

    async fn becomes(&mut self, passage: Passage) {
        let (from, to) = (self.from, self.to);
        let is_so = |links: &Links| links.get(from, to).passage == passage;
        // The network outlives its connections.
        drop(self.links.wait_for(is_so).await);
    }

    fn link(&self) -> Link {
        self.links.borrow().get(self.from, self.to)
    }
}

/// What flows one way on one connection.
pub struct Flow {
    way: Way,
    random: Random,
    /// When the piece before arrives: what is behind it can't overtake it.
    last: Instant,
}

impl Flow {
    pub fn new(way: Way, random: Random) -> Self {
        let last = Instant::now();
        Self { way, random, last }
    }

    /// What becomes of a piece, and when it arrives. Fails if it breaks the connection.
    pub fn carry(&mut self, piece: &mut [u8]) -> io::Result<Instant> {
        let link = self.way.link();
        if self.random.chance(link.broken_permille) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !piece.is_empty() && self.random.chance(link.flipped_permille) {
            let place = self.random.below(piece.len() as u64) as usize;
            piece[place] ^= 1 << self.random.below(8);
        }
        let mut late = self.random.between(link.delay_ms.0, link.delay_ms.1);
        if self.random.chance(link.lost_permille) {
            late += self
                .random
                .between(RETRANSMISSION_MS.0, RETRANSMISSION_MS.1);
        }
        let arrives = Instant::now() + Duration::from_millis(late);
        self.last = self.last.max(arrives) + transfer_time(&link, piece.len());
        Ok(self.last)
    }
}

fn transfer_time(link: &Link, bytes: usize) -> Duration {
    let time = |rate: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
    link.bytes_per_second.map_or(Duration::ZERO, time)
}
