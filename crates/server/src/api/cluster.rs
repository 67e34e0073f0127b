//! The Cluster service: who belongs, and how that changes.

use little_raft::core::{Member as GroupMember, ReplicaId, Role};
use little_raft::{MemberChange, Status as ReplicaStatus};
use tonic::{Request, Response, Status};

use super::Api;
use super::members::PeerUrl;
use super::status;
use crate::config;
use crate::proto::command::MemberAttributes;
use crate::proto::command::command::Kind;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};

/// Those who only learn cost a leader as much as a voter; etcd's limit.
const LEARNERS_MAX: usize = 1;

#[tonic::async_trait]
impl Cluster for Api {
    /// Answers once it is committed, as etcd does: the new member is started only afterwards. Ours joins as a learner
    /// in any case, and who is to vote does so once it has caught up: no addition can cost the group its majority.
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let request = self.admit(request)?;
        let part = match request.is_learner {
            true => Part::Learner,
            false => Part::Voter,
        };
        let added = self.add(&request.peer_ur_ls, part).await?;
        Ok(Response::new(added))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let id = ReplicaId(self.admit(request)?.id);
        let before = self.fresh_status().await?;
        let member = find(&before, id)?;
        if member.role == Some(Role::Voter) {
            self.check_removal(&before, id).await?;
        }
        let change = MemberChange::new().remove(id);
        self.engine.change_members(change).await?;
        tracing::info!(id = %format_args!("{id:x}", id = id.0), "a member was removed");
        Ok(Response::new(MemberRemoveResponse {
            header: self.header_of_members(),
            members: self.members(),
        }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = self.admit(request)?;
        let (id, peer) = (ReplicaId(request.id), peer_url(&request.peer_ur_ls)?);
        let before = self.fresh_status().await?;
        find(&before, id)?;
        refuse_used(&before, &peer.address, Some(id))?;
        let change = MemberChange::new().set_address(id, peer.address);
        self.engine.change_members(change).await?;
        Ok(Response::new(MemberUpdateResponse {
            header: self.header_of_members(),
            members: self.members(),
        }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let request = self.admit(request)?;
        if request.linearizable {
            self.engine.barrier().await?;
        }
        Ok(Response::new(MemberListResponse {
            header: self.header_of_members(),
            members: self.members(),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let id = ReplicaId(self.admit(request)?.id);
        let before = self.fresh_status().await?;
        if find(&before, id)?.role == Some(Role::Voter) {
            return Err(status::not_a_learner());
        }
        let change = MemberChange::new().promote(id);
        self.engine.change_members(change).await?;
        Ok(Response::new(MemberPromoteResponse {
            header: self.header_of_members(),
            members: self.members(),
        }))
    }
}

/// What a new member is to be.
pub(super) enum Part {
    Voter,
    Learner,
    /// Called so: it can't say that itself.
    Witness(String),
}

impl Api {
    pub(super) async fn add(
        &self,
        peer_urls: &[String],
        part: Part,
    ) -> Result<MemberAddResponse, Status> {
        let peer = peer_url(peer_urls)?;
        let id = config::replica_id(&peer.url, &self.token);
        let before = self.fresh_status().await?;
        refuse_used(&before, &peer.address, None)?;
        if before.members.iter().any(|it| it.id == id) {
            return Err(status::member_exists());
        }
        let learners = before.members.iter().filter(|it| only_learns(it)).count();
        match part {
            Part::Learner if learners >= LEARNERS_MAX => return Err(status::too_many_learners()),
            Part::Learner => {}
            Part::Voter | Part::Witness(_) => self.check_addition(&before).await?,
        }
        let change = MemberChange::new();
        let (name, change) = match &part {
            Part::Voter => ("", change.add(id, peer.address)),
            Part::Learner => ("", change.add_learner(id, peer.address)),
            Part::Witness(name) => (&name[..], change.add_witness(id, peer.address)),
        };
        self.begin_as(id, name).await?;
        self.engine.change_members(change.once_committed()).await?;
        tracing::info!(id = %format_args!("{id:x}", id = id.0), peer = peer.url, "a member was added");
        let members = self.members();
        let added = members.iter().find(|it| it.id == id.0);
        Ok(MemberAddResponse {
            header: self.header_of_members(),
            member: added.map(|added| Member {
                is_learner: matches!(part, Part::Learner),
                ..added.clone()
            }),
            members,
        })
    }

    /// The status, no older than the call: a change that was answered before is in it.
    async fn fresh_status(&self) -> Result<ReplicaStatus, Status> {
        self.engine.barrier().await?;
        Ok(self.engine.status())
    }

    /// As in etcd, whose member changes take no revision.
    fn header_of_members(&self) -> Option<crate::proto::etcdserverpb::ResponseHeader> {
        Some(self.header(0))
    }

    /// Who comes back under an old id has not started yet, whatever is known from its time before.
    async fn begin_as(&self, id: ReplicaId, name: &str) -> Result<(), Status> {
        if name.is_empty() && !self.is_started(id.0) {
            return Ok(());
        }
        let known = MemberAttributes {
            id: id.0,
            name: name.into(),
            client_urls: Vec::new(),
        };
        self.engine.propose(Kind::Attributes(known)).await?;
        Ok(())
    }
}

fn peer_url(urls: &[String]) -> Result<PeerUrl, Status> {
    let [url] = urls else {
        return Err(status::bad_member_urls());
    };
    let address = config::authority("peerURLs", url).map_err(|_| status::bad_member_urls())?;
    Ok(PeerUrl {
        url: url.clone(),
        address: address.into(),
    })
}

fn find(status: &ReplicaStatus, id: ReplicaId) -> Result<&GroupMember, Status> {
    let member = status.members.iter().find(|it| it.id == id);
    member.ok_or_else(status::member_not_found)
}

fn refuse_used(
    status: &ReplicaStatus,
    address: &str,
    by_others_than: Option<ReplicaId>,
) -> Result<(), Status> {
    let mut others = status
        .members
        .iter()
        .filter(|it| Some(it.id) != by_others_than);
    match others.any(|it| it.address == address) {
        true => Err(status::peer_urls_exist()),
        false => Ok(()),
    }
}

/// It is no voter, and won't be one by itself.
fn only_learns(member: &GroupMember) -> bool {
    member.role == Some(Role::Learner) && !member.promote_when_caught_up
}
