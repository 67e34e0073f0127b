//! Who brings the faults: rounds of some faults at once, each mended before the next.

use std::time::Duration;

use crate::cluster::{COUNT, Cluster};
use crate::faults::{Fault, HARD, SOFT};
use crate::random::Random;

const HOLD_MS: (u64, u64) = (300, 5_000);
const QUIET_MS: (u64, u64) = (200, 1_500);
/// The network is bad for no longer while an errand waits for its end.
const BAD_WEATHER: Duration = Duration::from_secs(10);
/// After so many rounds everything must work before the next.
const ROUNDS_TO_PEACE: u64 = 5;

/// What operators do while the network is bad.
#[derive(Clone, Copy)]
enum Errand {
    MoveLeader,
    /// One after the other stops in order, or is killed, and starts again.
    RollingRestart,
    /// One leaves for good, and a new one joins.
    Replace,
}

pub struct Nemesis {
    pub cluster: Cluster,
    random: Random,
    rounds: u64,
    errands: u64,
}

impl Nemesis {
    pub fn new(cluster: Cluster, random: Random) -> Self {
        Self {
            cluster,
            random,
            rounds: 0,
            errands: 0,
        }
    }

    /// Until the time is over. Fails if a server ends without cause, or something doesn't end though all is mended.
    pub async fn rage(&mut self, time: Duration) -> Result<(), String> {
        while self.cluster.journal.elapsed() < time {
            self.rounds += 1;
            if self.rounds.is_multiple_of(3) {
                self.errand().await?;
            } else {
                self.faults().await?;
            }
            self.wait(QUIET_MS).await;
            self.cluster.look()?;
            if self.rounds.is_multiple_of(ROUNDS_TO_PEACE) {
                self.cluster.all_serve().await?;
                self.note("all serve");
            }
        }
        Ok(())
    }

    /// All is mended, and works again.
    pub async fn make_peace(&mut self) -> Result<(), String> {
        self.note("the end");
        self.cluster.mend()?;
        self.cluster.all_serve().await
    }

    async fn faults(&mut self) -> Result<(), String> {
        let hard = self.random.pick(HARD);
        self.begin(hard).await;
        if self.random.chance(400) {
            let other = match self.random.chance(500) {
                true => self.random.pick(HARD),
                false => self.random.pick(SOFT),
            };
            self.wait((0, 1_000)).await;
            self.begin(other).await;
        }
        self.wait(HOLD_MS).await;
        self.note("mended");
        self.cluster.mend()
    }

    async fn begin(&mut self, fault: Fault) {
        let what = fault.begin(&mut self.cluster, &mut self.random).await;
        self.note(&what);
    }

    async fn errand(&mut self) -> Result<(), String> {
        let soft = self.random.chance(600);
        if soft {
            let fault = self.random.pick(SOFT);
            self.begin(fault).await;
        }
        let better = self.cluster.mend_network_after(BAD_WEATHER);
        // Each has its turn, so that even a short run has all.
        self.errands += 1;
        let errand = [Errand::Replace, Errand::RollingRestart, Errand::MoveLeader];
        match errand[(self.errands % 3) as usize] {
            Errand::MoveLeader => self.move_leader().await,
            Errand::RollingRestart => self.rolling_restart().await?,
            Errand::Replace => self.replace().await?,
        }
        better.abort();
        self.cluster.mend()
    }

    /// Whether it succeeds is for others to say: a network that loses messages may not let it.
    async fn move_leader(&mut self) {
        for _ in 0..self.random.between(1, 4) {
            let to = self.random.below(COUNT as u64) as usize;
            let Some(leader) = self.cluster.leader().await else {
                continue;
            };
            let id = self.cluster.members[to].id;
            let moved = self.cluster.client(leader).move_leader(id).await;
            let (from, to) = (self.cluster.name(leader), self.cluster.name(to));
            self.note(&match moved {
                Ok(()) => format!("{from} handed over to {to}"),
                Err(status) => format!("{from} didn't hand over to {to}: {}", status.message()),
            });
        }
    }

    async fn rolling_restart(&mut self) -> Result<(), String> {
        let orderly = self.random.chance(500);
        for place in 0..COUNT {
            match orderly {
                true => self.cluster.members[place].stop().await?,
                false => self.cluster.members[place].kill(),
            }
            let how = if orderly { "stopped" } else { "killed" };
            self.wait((0, 300)).await;
            self.cluster.members[place].start();
            self.note(&format!("{} {how}, and started", self.cluster.name(place)));
            self.wait((0, 600)).await;
        }
        Ok(())
    }

    async fn replace(&mut self) -> Result<(), String> {
        let place = self.random.below(COUNT as u64) as usize;
        let old = self.cluster.name(place).to_owned();
        if self.random.chance(500) {
            self.cluster.members[place].kill();
            self.note(&format!("{old} killed"));
        }
        self.note(&format!("{old} is being replaced"));
        self.cluster.replace(place).await?;
        self.note(&format!("{} joins", self.cluster.name(place)));
        self.cluster.votes(place).await?;
        self.note(&format!("{} votes", self.cluster.name(place)));
        Ok(())
    }

    async fn wait(&mut self, (least, most): (u64, u64)) {
        let time = self.random.between(least, most);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }

    fn note(&self, line: &str) {
        self.cluster.journal.note(line);
    }
}
