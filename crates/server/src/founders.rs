//! Who a replica is, and who founds a cluster with it: etcd's flags, and the ids made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use little_raft::core::ReplicaId;

use crate::config::{ConfigError, authority, single};

/// Who a replica is, and with whom.
#[derive(Args, Clone, Debug)]
pub struct MemberArgs {
    /// This replica's name.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Peer URL to tell others; the one in --initial-cluster.
    #[arg(long, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// The founders, as name=url,name=url [default: this one alone]; to join, the members as they are now and this one
    #[arg(long)]
    pub initial_cluster: Option<String>,
    /// Keeps clusters apart: replicas with another token are refused.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
}

/// One member, as --initial-cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Made of its peer URL and the cluster's token.
    pub id: ReplicaId,
    /// Its name.
    pub name: String,
    /// Where its peers reach it, as a URL.
    pub peer_url: String,
    /// The same as `host:port`.
    pub peer_address: String,
    /// It only votes.
    pub is_witness: bool,
}

impl MemberArgs {
    /// This replica, and all founders in the order of their ids.
    ///
    /// # Errors
    /// If they contradict each other, saying where.
    pub fn founders(&self) -> Result<(Founder, Vec<Founder>), ConfigError> {
        let own_url = single(
            "--initial-advertise-peer-urls",
            &self.initial_advertise_peer_urls,
        )?;
        let founders = all(self, own_url)?;
        let own = founders.iter().find(|founder| founder.name == self.name);
        let own = own.ok_or_else(|| not_in_cluster(self, &founders))?;
        Ok((own.clone(), founders))
    }

    /// Where it keeps its data unless told.
    pub fn default_data_dir(&self) -> PathBuf {
        format!("{}.little-raft", self.name).into()
    }
}

fn all(args: &MemberArgs, own_url: &str) -> Result<Vec<Founder>, ConfigError> {
    let alone = format!("{}={own_url}", args.name);
    let text = args.initial_cluster.as_ref().unwrap_or(&alone);
    let mut by_id = BTreeMap::new();
    for entry in text.split(',') {
        let founder = founder(entry.trim(), &args.initial_cluster_token)?;
        if by_id
            .values()
            .any(|other: &Founder| other.name == founder.name)
        {
            return Err(ConfigError::Twice { what: founder.name });
        }
        if founder.name == args.name && founder.peer_url != own_url {
            return Err(ConfigError::OtherPeerUrl {
                name: founder.name,
                in_cluster: founder.peer_url,
                advertised: own_url.into(),
            });
        }
        if let Some(twice) = by_id.insert(founder.id, founder) {
            return Err(ConfigError::Twice {
                what: twice.peer_url,
            });
        }
    }
    Ok(by_id.into_values().collect())
}

fn founder(entry: &str, token: &str) -> Result<Founder, ConfigError> {
    let (name, url) = entry
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| ConfigError::BadEntry {
            entry: entry.into(),
        })?;
    let address = authority("--initial-cluster", url)?;
    Ok(Founder {
        id: replica_id(url, token),
        name: name.into(),
        peer_url: url.into(),
        peer_address: address.into(),
        is_witness: false,
    })
}

fn not_in_cluster(args: &MemberArgs, founders: &[Founder]) -> ConfigError {
    ConfigError::NotInCluster {
        name: args.name.clone(),
        names: names(founders),
    }
}

pub(crate) fn names(founders: &[Founder]) -> String {
    let names: Vec<&str> = founders.iter().map(|founder| &founder.name[..]).collect();
    names.join(", ")
}

/// The id of whoever is reached at this URL, the same wherever it is made: where a member is added, and where it then
/// starts.
pub(crate) fn replica_id(peer_url: &str, token: &str) -> ReplicaId {
    let url = peer_url.trim().trim_end_matches('/');
    let hash = hash([token.as_bytes(), url.as_bytes()]);
    ReplicaId(hash.max(1))
}

/// FNV-1a with a final mix: ids must be the same for ever, on every machine.
fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
