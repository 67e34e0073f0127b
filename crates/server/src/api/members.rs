//! The members as clients are told of them: what the group knows of each, and what each says of itself.

use little_raft::core::Role;

use super::Api;
use crate::proto::etcdserverpb::Member;

/// What a member that joins or moves is called by.
pub(super) struct PeerUrl {
    /// As a URL, in one spelling.
    pub(super) url: String,
    /// As `host:port`.
    pub(super) address: String,
}

impl Api {
    /// Everybody, in the order of their ids. Without a name is who was never started.
    pub(super) fn members(&self) -> Vec<Member> {
        let members = self.engine.status().members;
        members.iter().map(|it| self.member(it)).collect()
    }

    fn member(&self, member: &little_raft::Member) -> Member {
        let id = member.id.0;
        let attributes = self.reader.attributes();
        // A founder is known by name before it has said so itself, as in etcd.
        let said = attributes.get(&id).or_else(|| self.known.get(&id));
        let (name, client_ur_ls) = said
            .map(|said| (said.name.clone(), said.client_urls.clone()))
            .unwrap_or_default();
        Member {
            id,
            name,
            peer_ur_ls: vec![format!("http://{}", member.address)],
            client_ur_ls,
            is_learner: member.role != Some(Role::Voter),
            is_witness: member.witness,
        }
    }

    /// Whether it said so, or was a founder.
    pub(super) fn is_started(&self, id: u64) -> bool {
        let attributes = self.reader.attributes();
        let said = attributes.get(&id).or_else(|| self.known.get(&id));
        said.is_some_and(|said| !said.name.is_empty())
    }
}
