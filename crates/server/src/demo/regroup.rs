//! The story's part in which the group itself changes: somebody joins, is replaced, leads, leaves.

use std::time::{Duration, Instant};

use super::error::DemoError;
use super::replicas::{COUNT, State};
use super::screen::bold;
use super::tour::{Held, Tour};
use super::words::ms;

/// Whoever joins sits here.
const FOURTH: usize = COUNT;
/// Whoever replaces that one, at an address of its own: an id is never used twice.
const FIFTH: usize = COUNT + 1;
const HEARTBEAT: Duration = Duration::from_millis(60);
const ELECTION: Duration = Duration::from_millis(600);

impl Tour {
    /// Tells that part.
    pub(super) async fn regroup(&mut self) -> Held {
        self.add_a_fourth().await?;
        self.replace_a_dead_one().await?;
        self.hand_over().await?;
        self.change_timing().await?;
        self.remove_it_again().await
    }

    async fn add_a_fourth(&mut self) -> Held {
        self.heading("Add a fourth");
        let begun = Instant::now();
        self.join(FOURTH, &[0, 1, 2]).await?;
        let joined = begun.elapsed();
        self.figures.join = Some(joined);
        self.write_through(FOURTH, true);
        self.tell(&format!(
            "Replica 4 joined under load, with an empty disk: it learned all that was written, and votes after {}.\n\
             Three of four are a majority now. It voted only once it had caught up, so no write had to wait for it.",
            bold(&ms(joined)),
        ))
        .await;
        Ok(())
    }

    async fn replace_a_dead_one(&mut self) -> Held {
        self.heading("Replace a dead one");
        let rest: Vec<usize> = (0..COUNT).collect();
        self.write_through(FOURTH, false);
        self.stage.replicas().kill(FOURTH);
        let begun = Instant::now();
        self.remove(FOURTH, rest[0]).await?;
        self.forget(FOURTH)?;
        self.join(FIFTH, &rest).await?;
        let replaced = begun.elapsed();
        self.figures.replace = Some(replaced);
        self.write_through(FIFTH, true);
        self.tell(&format!(
            "SIGKILL to replica 4. It was removed, and replica 5 added instead, which votes after {}. Writes went on.",
            bold(&ms(replaced)),
        ))
        .await;
        Ok(())
    }

    async fn hand_over(&mut self) -> Held {
        self.heading("Transfer leadership");
        let (from, to, pause) = self
            .until("leadership to move", async || self.try_hand_over().await)
            .await?;
        self.figures.transfer = Some(pause);
        self.tell(&format!(
            "Replica {} handed over to replica {}, which led {} later: no election timeout had to pass.",
            from + 1,
            to + 1,
            bold(&ms(pause)),
        ))
        .await;
        Ok(())
    }

    async fn try_hand_over(&self) -> Option<(usize, usize, Duration)> {
        let (from, _) = self.stage.leader().await?;
        let to = (from + 1) % COUNT;
        let status = self.stage.clients[to]
            .status(Duration::from_secs(1))
            .await
            .ok()?;
        let id = status.header?.member_id;
        let begun = Instant::now();
        self.stage.clients[from].move_leader(id).await.ok()?;
        Some((from, to, begun.elapsed()))
    }

    async fn change_timing(&mut self) -> Held {
        self.heading("Change the timing of all");
        self.until("the timing to be changed", async || {
            let client = &self.stage.clients[0];
            client.set_timing(HEARTBEAT, ELECTION).await.ok()
        })
        .await?;
        for which in [0, 1, 2, FIFTH] {
            self.until("a replica to use the new timing", async || {
                let timing = self.stage.clients[which].timing().await.ok()?;
                let election = Duration::from_nanos(timing.election_ns);
                (timing.agreed && election == ELECTION).then_some(())
            })
            .await?;
        }
        self.tell(&format!(
            "All four use a heartbeat of {} and an election timeout of {} now. The change went through the log:\nwho \
             was away learns it with everything else, and who joins later too.",
            ms(HEARTBEAT),
            ms(ELECTION),
        ))
        .await;
        Ok(())
    }

    async fn remove_it_again(&mut self) -> Held {
        self.heading("Remove it again");
        self.write_through(FIFTH, false);
        self.stage.replicas().let_leave(FIFTH);
        self.remove(FIFTH, 0).await?;
        self.until("the removed replica to end", async || {
            (self.stage.replicas().state(FIFTH) == State::Down).then_some(())
        })
        .await?;
        self.forget(FIFTH)?;
        self.all_follow().await?;
        self.tell("It was told that it is no member any more, and its process ended by itself.")
            .await;
        Ok(())
    }

    /// Adds one with an empty disk, and waits until it votes.
    async fn join(&self, which: usize, members: &[usize]) -> Held {
        let asked = &self.stage.clients[members[0]];
        let emptied = self.stage.replicas().let_join(which, members);
        emptied.map_err(emptying)?;
        let peer = self.stage.replicas().peer_address(which);
        self.until("an addition", async || asked.add_member(&peer).await.ok())
            .await?;
        self.start(which)?;
        self.until("who joined to vote", async || {
            let member = asked.member_at(&peer).await.ok()??;
            (!member.is_learner && !member.name.is_empty()).then_some(())
        })
        .await
    }

    async fn remove(&self, which: usize, asked: usize) -> Held {
        let client = &self.stage.clients[asked];
        let peer = self.stage.replicas().peer_address(which);
        self.until("a removal", async || {
            match client.member_at(&peer).await.ok()? {
                Some(member) => client.remove_member(member.id).await.ok(),
                None => Some(()),
            }
        })
        .await
    }

    fn forget(&self, which: usize) -> Held {
        let mut replicas = self.stage.replicas();
        replicas.kill(which);
        replicas.forget(which).map_err(emptying)
    }

    fn write_through(&self, which: usize, used: bool) {
        if let Some(writer) = self.stage.writer().as_ref() {
            writer.use_or_not(which, used);
        }
    }
}

fn emptying(source: std::io::Error) -> DemoError {
    DemoError::System {
        action: "empty a replica's disk",
        source,
    }
}
