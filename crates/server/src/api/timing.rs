//! The timing of the whole group: a service of our own, as etcd has none.

use std::time::Duration;

use little_raft::{MemberChange, Timing as Timeouts};
use tonic::{Request, Response, Status};

use super::Api;
use crate::config;
use crate::proto::group::timing_server::Timing;
use crate::proto::group::{GetTimingRequest, SetTimingRequest, TimingResponse};

#[tonic::async_trait]
impl Timing for Api {
    async fn get(
        &self,
        request: Request<GetTimingRequest>,
    ) -> Result<Response<TimingResponse>, Status> {
        self.admit(request)?;
        self.engine.barrier().await?;
        Ok(Response::new(self.timing_now()))
    }

    async fn set(
        &self,
        request: Request<SetTimingRequest>,
    ) -> Result<Response<TimingResponse>, Status> {
        let request = self.admit(request)?;
        self.engine.barrier().await?;
        let now = self.timing_now();
        let chosen =
            |wanted: u64, kept: u64| Duration::from_nanos(if wanted > 0 { wanted } else { kept });
        let timing = Timeouts {
            heartbeat: chosen(request.heartbeat_ns, now.heartbeat_ns),
            election: chosen(request.election_ns, now.election_ns),
        };
        config::check_group_timing(timing).map_err(Status::invalid_argument)?;
        let change = MemberChange::new().set_timing(timing);
        self.engine.change_members(change).await?;
        tracing::info!(heartbeat = ?timing.heartbeat, election = ?timing.election, "the group's timing was changed");
        Ok(Response::new(self.timing_now()))
    }
}

impl Api {
    fn timing_now(&self) -> TimingResponse {
        let status = self.engine.status();
        let timing = status.timing;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        TimingResponse {
            heartbeat_ns: nanos(timing.heartbeat),
            election_ns: nanos(timing.election),
            agreed: status.group_timing.is_some(),
        }
    }
}
