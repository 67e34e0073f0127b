//! A replica makes itself known: what clients are told of it goes through the log, as etcd's member attributes do. Until
//! it is a member it says whom it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use little_raft::Member;

use crate::api::Api;
use crate::proto::command::MemberAttributes;
use crate::proto::command::command::Kind;

/// Between two looks whether all is as it should be.
const INTERVAL: Duration = Duration::from_secs(1);
/// It takes a moment to hear from the group.
const FIRST_COMPLAINT: Duration = Duration::from_secs(2);
/// Between two complaints in the log.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Sees to it that the store has what this replica says of itself, for as long as it runs: an addition under its id
/// makes the group forget it.
pub async fn announce(api: Arc<Api>, own: MemberAttributes, peer_url: String) {
    let mut complain_at = Instant::now() + FIRST_COMPLAINT;
    loop {
        let is_member = |id| id == api.id;
        let status = api.engine.status();
        if !status.members.iter().any(|it| is_member(it.id)) {
            if Instant::now() >= complain_at {
                complain_at += COMPLAINT_INTERVAL;
                complain(&own.name, &peer_url);
            }
        } else if status.leader.is_some() {
            for unsaid in unsaid(&api, &own, &status.members) {
                // If it fails it is tried again; twice does no harm.
                if let Err(status) = api.engine.propose(Kind::Attributes(unsaid)).await {
                    tracing::debug!(%status, "name and client URLs are not published yet");
                }
            }
        }
        api.engine.changed_or(INTERVAL).await;
    }
}

/// What the store lacks of this replica, and of witnesses: those who founded the group with them say what they are
/// called.
fn unsaid(api: &Api, own: &MemberAttributes, members: &[Member]) -> Vec<MemberAttributes> {
    let said = api.reader.attributes();
    let own = (said.get(&own.id) != Some(own)).then_some(own);
    let witnesses = members.iter().filter(|it| it.witness);
    let unnamed = witnesses.filter(|it| !said.contains_key(&it.id.0));
    let unnamed = unnamed.filter_map(|it| api.known.get(&it.id.0));
    own.into_iter().chain(unnamed).cloned().collect()
}

fn complain(name: &str, peer_url: &str) {
    tracing::warn!(
        "this replica is no member of the cluster yet, and waits: add it with `little-raft member add {name} \
         --peer-urls={peer_url}`; if it was added, its peer URL or --initial-cluster-token is another than the cluster's"
    );
}
