//! The story, step by step: each does something to the replicas, measures it, and holds them to a promise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Outcome;
use super::error::DemoError;
use super::ledger::{Ledger, value_of};
use super::replicas::{COUNT, SEATS, State};
use super::screen::{bold, dim};
use super::watch::Stage;
use super::words::{count, last_words, ms};
use super::writer::{Pace, SHORT_PATIENCE, Writer};
use crate::proto::mvccpb::KeyValue;

/// What can take long on a slow machine still ends.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
const LANES: usize = 8;
const WRITING: Duration = Duration::from_secs(2);
const GOING_ON: Duration = Duration::from_secs(1);
const READ_ROUNDS: usize = 50;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Attempts.
    pub writes: usize,
    /// Those that were acknowledged.
    pub acknowledged: usize,
    /// Those acknowledged and not there again.
    pub lost: usize,
    /// From SIGKILL of the leader to the next acknowledged write.
    pub failover: Option<Duration>,
    /// From starting a process to a replica that knows as much as the leader.
    pub catch_up: Option<Duration>,
    /// Reads that had to see a write acknowledged before them, and did.
    pub linearizable_reads: usize,
    /// From an empty disk to a fourth voter.
    pub join: Option<Duration>,
    /// From a lost disk to a new voter in its place.
    pub replace: Option<Duration>,
    /// From asking to the new leader.
    pub transfer: Option<Duration>,
}

/// The story as it is told.
pub struct Tour {
    pub(super) stage: Arc<Stage>,
    prefix: String,
    step: usize,
    /// What was measured up to now.
    pub figures: Figures,
}

pub(super) type Held = Result<(), DemoError>;

impl Tour {
    /// Writes keys that begin with `prefix`, which nobody else uses.
    pub fn new(stage: Arc<Stage>, prefix: &str) -> Self {
        Self {
            stage,
            prefix: prefix.into(),
            step: 0,
            figures: Figures::default(),
        }
    }

    /// Tells it from beginning to end.
    ///
    /// # Errors
    /// At the first promise that isn't held.
    pub async fn play(&mut self) -> Held {
        self.elect().await?;
        self.write().await?;
        self.read().await?;
        let victim = self.kill_the_leader().await?;
        self.go_on(victim).await?;
        self.restart(victim).await?;
        self.kill_all().await?;
        self.regroup().await?;
        self.prove().await
    }

    async fn elect(&mut self) -> Held {
        self.heading("Elect");
        let begun = Instant::now();
        for which in 0..COUNT {
            self.start(which)?;
        }
        let (leader, term) = self.all_follow().await?;
        self.tell(&format!(
            "Replica {} leads in term {term}, {} after the start: a majority (two of three) voted for it.\n\
             Each replica votes once a term and flushes its vote to disk first, so a term never has two leaders.",
            leader + 1,
            ms(begun.elapsed()),
        ))
        .await;
        Ok(())
    }

    async fn write(&mut self) -> Held {
        self.heading("Write");
        let pace = Pace {
            lanes: LANES,
            pause: Duration::ZERO,
            patience: SHORT_PATIENCE,
        };
        let writer = Writer::start(&self.stage.clients, &self.write_prefix(), pace);
        *self.stage.writer() = Some(writer);
        let written = self.write_for(WRITING).await?;
        let median = self.stage.writer().as_ref().map(Writer::median_latency);
        self.tell(&format!(
            "{LANES} clients write through all three replicas: {} writes acknowledged in {} s, half of them within {}.\n\
             Acknowledged means: flushed to the disks of two replicas at least. They write on in the background.",
            count(written),
            WRITING.as_secs(),
            ms(median.unwrap_or_default()),
        ))
        .await;
        Ok(())
    }

    async fn read(&mut self) -> Held {
        self.heading("Read");
        let mut latencies = Vec::new();
        for round in 0..READ_ROUNDS {
            let key = self.write_one(round).await?;
            let ask = |which: usize| self.read_one(which, &key);
            let (one, two, three) = tokio::join!(ask(0), ask(1), ask(2));
            for latency in [one, two, three] {
                latencies.push(latency?);
            }
        }
        self.figures.linearizable_reads = latencies.len();
        latencies.sort_unstable();
        self.tell(&format!(
            "{READ_ROUNDS} times one replica took a write and then all three were asked: all {} reads saw it, half of \
             them within {}.\nBefore it answers, a replica makes sure with the leader that it knows all that was \
             acknowledged.",
            latencies.len(),
            ms(latencies[latencies.len() / 2]),
        ))
        .await;
        Ok(())
    }

    async fn kill_the_leader(&mut self) -> Result<usize, DemoError> {
        self.heading("Kill the leader");
        let (victim, old_term) = self.leader().await?;
        let killed = Instant::now();
        self.stage.replicas().kill(victim);
        let acknowledged = self.acknowledged_since(killed).await?;
        let failover = acknowledged - killed;
        self.figures.failover = Some(failover);
        let (leader, term) = self
            .until("another leader", async || {
                let leader = self.stage.leader().await;
                leader.filter(|(which, term)| *which != victim && *term > old_term)
            })
            .await?;
        self.tell(&format!(
            "SIGKILL to replica {}, which led, in the midst of writes. {} later the next write was acknowledged:\n\
             replica {} leads now, in term {term}. Only a replica that has all acknowledged writes can win.",
            victim + 1,
            bold(&ms(failover)),
            leader + 1,
        ))
        .await;
        Ok(victim)
    }

    async fn go_on(&mut self, victim: usize) -> Held {
        self.heading("Go on");
        let written = self.write_for(GOING_ON).await?;
        self.tell(&format!(
            "Two of three are a majority: {} more writes in {} s without replica {}.",
            count(written),
            GOING_ON.as_secs(),
            victim + 1,
        ))
        .await;
        Ok(())
    }

    async fn restart(&mut self, victim: usize) -> Held {
        self.heading("Restart it");
        let begun = Instant::now();
        self.start(victim)?;
        self.until("the restarted replica to catch up", async || {
            self.has_caught_up(victim).await.then_some(())
        })
        .await?;
        let catch_up = begun.elapsed();
        self.figures.catch_up = Some(catch_up);
        self.tell(&format!(
            "Replica {} reads its own log, takes what it missed from the leader, and has caught up {} after its\n\
             process began, while writes go on.",
            victim + 1,
            bold(&ms(catch_up)),
        ))
        .await;
        Ok(())
    }

    async fn kill_all(&mut self) -> Held {
        self.heading("Kill all three at once");
        self.stage.replicas().kill_all();
        let begun = Instant::now();
        for which in 0..COUNT {
            self.start(which)?;
        }
        let acknowledged = self.acknowledged_since(begun).await?;
        let (leader, term) = self.all_follow().await?;
        self.tell(&format!(
            "SIGKILL to all, in the midst of writes: nobody is left who remembers, except the disks.\n\
             Started again, they have elected replica {} in term {term}; the next write was acknowledged after {}.",
            leader + 1,
            bold(&ms(acknowledged - begun)),
        ))
        .await;
        Ok(())
    }

    async fn prove(&mut self) -> Held {
        self.heading("Prove that nothing was lost");
        let writer = self.stage.writer().take();
        let ledger = writer
            .expect("it writes since the second step")
            .stop()
            .await;
        self.figures.writes = ledger.writes();
        self.figures.acknowledged = ledger.acknowledged();
        let replicas = self.read_all().await?;
        let verdict = ledger.check(&replicas);
        self.figures.lost = verdict.lost.len();
        if !verdict.is_clean() {
            return Err(self.broken(format!(
                "the replicas don't have what was written: {verdict:?}"
            )));
        }
        self.tell(&self.proof(&ledger, ledger.unknown_found(&replicas[0])))
            .await;
        Ok(())
    }

    fn proof(&self, ledger: &Ledger, took_effect: usize) -> String {
        let mut text = format!(
            "All {} acknowledged writes were read back from each replica: {}.\n",
            count(ledger.acknowledged()),
            bold("none is lost, none was applied twice"),
        );
        text += &match ledger.unknown() {
            0 => "Every write was answered.".to_owned(),
            unknown => format!(
                "{unknown} got no answer, as whoever took them was killed: {took_effect} took effect, once, and on all \
                 three."
            ),
        };
        text
    }

    /// All three as of one revision: what nobody answered for may still take effect.
    async fn read_all(&self) -> Result<Vec<Vec<KeyValue>>, DemoError> {
        let (mut replicas, mut revision) = (Vec::new(), None);
        for client in &self.stage.clients[..COUNT] {
            let prefix = self.write_prefix();
            let ask = async || client.get_all(&prefix, revision).await.ok();
            let (at, found) = self.until("all keys of a replica", ask).await?;
            revision = Some(at);
            replicas.push(found);
        }
        Ok(replicas)
    }

    /// Writes one key and makes sure that it is acknowledged.
    async fn write_one(&self, round: usize) -> Result<String, DemoError> {
        let client = &self.stage.clients[round % COUNT];
        let mut attempt = 0;
        self.until("a write", async || {
            attempt += 1;
            let key = format!("{}read/{round}.{attempt}", self.prefix);
            let outcome = client
                .put(&key, &value_of(&key), Duration::from_secs(5))
                .await;
            matches!(outcome, Outcome::Acknowledged { .. }).then_some(key)
        })
        .await
    }

    /// Reads that key, which was acknowledged, and returns how long it took.
    async fn read_one(&self, which: usize, key: &str) -> Result<Duration, DemoError> {
        let client = &self.stage.clients[which];
        let (found, latency) = self
            .until("a read", async || {
                let begun = Instant::now();
                let answer = client.get(key, Duration::from_secs(5)).await;
                answer.ok().map(|found| (found, begun.elapsed()))
            })
            .await?;
        match found {
            Some(kv) if kv.value == value_of(key).as_bytes() => Ok(latency),
            found => Err(self.broken(format!(
                "replica {} was asked for {key} after its write was acknowledged, and answered {found:?}",
                which + 1
            ))),
        }
    }

    async fn write_for(&self, time: Duration) -> Result<usize, DemoError> {
        let total = || -> u64 {
            let writer = self.stage.writer();
            writer
                .as_ref()
                .map_or(0, |writer| writer.acknowledged_by().iter().sum())
        };
        let before = total();
        tokio::time::sleep(time).await;
        self.all_live()?;
        let written = total() - before;
        if written == 0 {
            return Err(self.broken("no write was acknowledged".into()));
        }
        Ok(usize::try_from(written).unwrap_or(usize::MAX))
    }

    async fn acknowledged_since(&self, since: Instant) -> Result<Instant, DemoError> {
        let told = self
            .stage
            .writer()
            .as_ref()
            .expect("it writes since the second step")
            .acknowledged_since(since);
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(at)) => Ok(at),
            _ => {
                self.all_live()?;
                Err(self.too_long("the next acknowledged write"))
            }
        }
    }

    async fn has_caught_up(&self, which: usize) -> bool {
        let Some((leader, _)) = self.stage.leader().await else {
            return false;
        };
        let timeout = Duration::from_millis(200);
        let Ok(goal) = self.stage.clients[leader].status(timeout).await else {
            return false;
        };
        let status = self.stage.clients[which].status(timeout).await;
        status.is_ok_and(|status| status.raft_applied_index >= goal.raft_applied_index)
    }

    pub(super) async fn leader(&self) -> Result<(usize, u64), DemoError> {
        self.until("a leader", async || self.stage.leader().await)
            .await
    }

    /// Waits until all three name the same leader.
    pub(super) async fn all_follow(&self) -> Result<(usize, u64), DemoError> {
        self.until("all three to follow one leader", async || {
            let statuses = self.stage.statuses().await;
            let named: Vec<(u64, u64)> = statuses
                .iter()
                .flatten()
                .map(|status| (status.leader, status.raft_term))
                .collect();
            let agreed =
                named.len() >= COUNT && named[0].0 != 0 && named.iter().all(|one| *one == named[0]);
            if agreed {
                self.stage.leader().await
            } else {
                None
            }
        })
        .await
    }

    pub(super) async fn until<T>(
        &self,
        what: &'static str,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, DemoError> {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return Ok(answer);
            }
            self.all_live()?;
            if begun.elapsed() > PATIENCE {
                return Err(self.too_long(what));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn start(&self, which: usize) -> Held {
        let started = self.stage.replicas().start(which);
        started.map_err(|source| DemoError::System {
            action: "start a replica",
            source,
        })
    }

    fn all_live(&self) -> Held {
        let mut replicas = self.stage.replicas();
        for which in 0..SEATS {
            if let State::Ended(status) = replicas.state(which) {
                let log = replicas.log(which);
                return Err(DemoError::Ended {
                    replica: which + 1,
                    status,
                    last_words: last_words(&log),
                    log,
                });
            }
        }
        Ok(())
    }

    fn too_long(&self, what: &'static str) -> DemoError {
        DemoError::TooLong {
            what,
            seconds: PATIENCE.as_secs(),
            dir: self.stage.replicas().dir().into(),
        }
    }

    fn broken(&self, what: String) -> DemoError {
        let dir = self.stage.replicas().dir().into();
        DemoError::Broken { what, dir }
    }

    fn write_prefix(&self) -> String {
        format!("{}write/", self.prefix)
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.step += 1;
        self.stage
            .screen
            .say(&bold(&format!("\n{}. {text}", self.step)));
    }

    /// Without a terminal each step ends with the table that would be seen there.
    pub(super) async fn tell(&self, text: &str) {
        self.stage.screen.say(text);
        if !self.stage.screen.is_live() {
            let table = self.stage.table().await;
            self.stage.screen.say(&dim(table.trim_end()));
        }
    }
}
