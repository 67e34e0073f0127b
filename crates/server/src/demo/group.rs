//! What changes the group, asked again until it is done: each may have been done by an attempt that got no answer.

use std::time::Duration;

use tonic::Status;

use super::client::{Client, timed};
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberRemoveRequest, MoveLeaderRequest,
};
use crate::proto::group::timing_client::TimingClient;
use crate::proto::group::{GetTimingRequest, SetTimingRequest, TimingResponse};

const TIMEOUT: Duration = Duration::from_secs(15);

impl Client {
    /// Who belongs.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn members(&self) -> Result<Vec<Member>, Status> {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let request = MemberListRequest { linearizable: true };
        Ok(timed(TIMEOUT, cluster.member_list(request)).await?.members)
    }

    /// The member that its peers reach at this `host:port`.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn member_at(&self, peer_address: &str) -> Result<Option<Member>, Status> {
        let url = format!("http://{peer_address}");
        let members = self.members().await?;
        Ok(members.into_iter().find(|it| it.peer_ur_ls.contains(&url)))
    }

    /// Adds a voter, which is started afterwards.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn add_member(&self, peer_address: &str) -> Result<(), Status> {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let request = MemberAddRequest {
            peer_ur_ls: vec![format!("http://{peer_address}")],
            is_learner: false,
        };
        match timed(TIMEOUT, cluster.member_add(request)).await {
            Err(status) if status.message() == "etcdserver: Peer URLs already exists" => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Removes a member.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn remove_member(&self, id: u64) -> Result<(), Status> {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let request = MemberRemoveRequest { id };
        match timed(TIMEOUT, cluster.member_remove(request)).await {
            Err(status) if status.message() == "etcdserver: member not found" => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Hands leadership over, if this one leads.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn move_leader(&self, to: u64) -> Result<(), Status> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        let request = MoveLeaderRequest { target_id: to };
        timed(TIMEOUT, maintenance.move_leader(request))
            .await
            .map(drop)
    }

    /// The timeouts that it uses.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn timing(&self) -> Result<TimingResponse, Status> {
        let mut timing = TimingClient::new(self.channel.clone());
        timed(TIMEOUT, timing.get(GetTimingRequest {})).await
    }

    /// Changes the timeouts of all.
    ///
    /// # Errors
    /// What the replica answers instead.
    pub async fn set_timing(
        &self,
        heartbeat: Duration,
        election: Duration,
    ) -> Result<TimingResponse, Status> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut timing = TimingClient::new(self.channel.clone());
        let request = SetTimingRequest {
            heartbeat_ns: nanos(heartbeat),
            election_ns: nanos(election),
        };
        timed(TIMEOUT, timing.set(request)).await
    }
}
