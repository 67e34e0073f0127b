//! Which changes of members would cost the group its majority: refused, in etcd's words, before anything is proposed.

use std::collections::BTreeSet;
use std::time::Duration;

use little_raft::core::{Member, ReplicaId, Role};
use little_raft::{Status as ReplicaStatus, who_listens};
use tonic::Status;

use super::Api;
use super::status;

/// A voter that doesn't answer its peer port for so long is taken for dead.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Api {
    /// A voter may join while a majority of those who then vote has been started, and lives; who joins counts as one
    /// that will. (etcd wants every voter alive, as who joins there votes at once.)
    pub(super) async fn check_addition(&self, before: &ReplicaStatus) -> Result<(), Status> {
        let voters: Vec<&Member> = before.members.iter().filter(|it| will_vote(it)).collect();
        let started = voters.iter().filter(|it| self.is_started(it.id.0)).count();
        let after = voters.len() + 1;
        // One that adds its second: nothing is lost that was there.
        if voters.len() > 1 && started < majority(after) {
            return Err(status::not_enough_started());
        }
        let live = self.live(&voters).await;
        if live.len() + 1 < majority(after) {
            return Err(status::unhealthy());
        }
        Ok(())
    }

    /// A voter may leave while a majority of the rest has been started, and lives; a dead one may leave in any case.
    pub(super) async fn check_removal(
        &self,
        before: &ReplicaStatus,
        leaves: ReplicaId,
    ) -> Result<(), Status> {
        let voters: Vec<&Member> = before.members.iter().filter(|it| votes(it)).collect();
        let rest: Vec<&Member> = voters.into_iter().filter(|it| it.id != leaves).collect();
        let started = rest.iter().filter(|it| self.is_started(it.id.0)).count();
        if rest.is_empty() || started < majority(rest.len()) {
            return Err(status::not_enough_started());
        }
        if self.live(&rest).await.len() < majority(rest.len()) {
            return Err(status::unhealthy());
        }
        Ok(())
    }

    /// Who of them answers at its peer port, as itself. All are asked at once.
    async fn live(&self, members: &[&Member]) -> BTreeSet<ReplicaId> {
        let mut asked = tokio::task::JoinSet::new();
        for member in members {
            let (id, address, own) = (member.id, member.address.clone(), self.id);
            asked.spawn_blocking(move || {
                let lives = id == own || who_listens(&address, PROBE_TIMEOUT) == Some(id);
                lives.then_some(id)
            });
        }
        let answers = asked.join_all().await;
        answers.into_iter().flatten().collect()
    }
}

fn votes(member: &Member) -> bool {
    member.role == Some(Role::Voter)
}

fn will_vote(member: &Member) -> bool {
    votes(member) || member.promote_when_caught_up
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}
