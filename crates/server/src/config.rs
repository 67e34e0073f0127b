//! `serve`'s settings: etcd's names, units and environment.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use little_raft::Timing;
use little_raft::core::ReplicaId;

pub use crate::founders::{Founder, MemberArgs};
pub(crate) use crate::founders::{names, replica_id};

/// Starts a replica.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Who it is.
    #[command(flatten)]
    pub member: MemberArgs,
    /// Where it keeps its data [default: NAME.little-raft]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// URLs to listen on for clients, separated by commas.
    #[arg(long, default_value = "http://localhost:2379")]
    pub listen_client_urls: String,
    /// Client URLs to tell others [default: those listened on]
    #[arg(long)]
    pub advertise_client_urls: Option<String>,
    /// URL to listen on for peers.
    #[arg(long, default_value = "http://localhost:2380")]
    pub listen_peer_urls: String,
    /// new: it is founded by all in --initial-cluster; existing: this replica joins one that runs, or did so once.
    #[arg(long, value_enum, default_value = "new")]
    pub initial_cluster_state: ClusterState,
    /// Those of the founders that are witnesses, as name,name [default: none]; the same on all founders
    #[arg(long)]
    pub initial_witnesses: Option<String>,
    /// It only votes, and has no data: two replicas and a witness outlive one of them.
    #[arg(long)]
    pub witness: bool,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub heartbeat_interval: u64,
    /// Milliseconds without a leader before an election.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub election_timeout: u64,
    /// Log entries kept before the log is cut.
    #[arg(long, default_value_t = 10_000)]
    pub snapshot_count: u64,
    /// Writes are refused when the store holds so many bytes; 0 stands for 2 GiB.
    #[arg(long, default_value_t = 0)]
    pub quota_backend_bytes: i64,
    /// The largest request.
    #[arg(long, default_value_t = 1_572_864, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub max_request_bytes: u32,
    /// error, warn, info, debug or trace.
    #[arg(long, default_value = "info")]
    pub log_level: tracing::Level,
    /// Exits when standard input ends: for a parent that must not leave it behind.
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
}

/// Whether the cluster is new or exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterState {
    /// The founders start it.
    New,
    /// It runs already.
    Existing,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub id: ReplicaId,
    /// Its name.
    pub name: String,
    /// Its own peer URL.
    pub peer_url: String,
    /// Whether it joins a cluster that exists, instead of founding one.
    pub joins: bool,
    /// It only votes, and has no data.
    pub is_witness: bool,
    /// All founders, in the order of their ids; who joins has the members that it was told of, and itself.
    pub founders: Vec<Founder>,
    /// Its data.
    pub data_dir: PathBuf,
    /// The cluster's token.
    pub token: String,
    /// Where clients connect.
    pub client_addresses: Vec<SocketAddr>,
    /// What others are told about that.
    pub client_urls: Vec<String>,
    /// Where peers connect.
    pub peer_address: SocketAddr,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Before an election.
    pub election_timeout: Duration,
    /// Log entries kept.
    pub snapshot_count: u64,
    /// Bytes of the store at which writes are refused.
    pub quota_bytes: u64,
    /// The largest request.
    pub request_bytes_max: usize,
}

/// Settings that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not a URL.
    #[error("{flag}: {url:?} is not a URL like http://127.0.0.1:2379")]
    BadUrl {
        /// Where it stands.
        flag: &'static str,
        /// What stands there.
        url: String,
    },
    /// TLS is asked for.
    #[error("{flag}: {url:?} asks for TLS, which this version doesn't have yet; use http://")]
    Tls {
        /// Where it stands.
        flag: &'static str,
        /// What stands there.
        url: String,
    },
    /// The name can't be resolved.
    #[error("{flag}: {address} has no address: {reason}; name a local interface or an IP address")]
    Unresolved {
        /// Where it stands.
        flag: &'static str,
        /// The host and port.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// More than one peer URL.
    #[error("{flag}: {urls:?} names several URLs; one is supported")]
    SeveralUrls {
        /// Where they stand.
        flag: &'static str,
        /// What stands there.
        urls: String,
    },
    /// Not `name=url`.
    #[error("--initial-cluster: {entry:?} is not of the form name=http://host:port")]
    BadEntry {
        /// What stands there.
        entry: String,
    },
    /// Twice the same.
    #[error("--initial-cluster: {what} is named twice")]
    Twice {
        /// The name or URL.
        what: String,
    },
    /// This replica isn't in it.
    #[error("--initial-cluster has no entry for --name {name:?}: it names {names}")]
    NotInCluster {
        /// This replica.
        name: String,
        /// Those in it.
        names: String,
    },
    /// Two flags disagree about this replica's peer URL.
    #[error(
        "--initial-cluster has {name}={in_cluster}, but --initial-advertise-peer-urls is {advertised}; make them the same"
    )]
    OtherPeerUrl {
        /// This replica.
        name: String,
        /// What the others would call.
        in_cluster: String,
        /// What it says of itself.
        advertised: String,
    },
    /// Timing that can't work.
    #[error(
        "--election-timeout {election} ms must be at least five times --heartbeat-interval {heartbeat} ms, else a lost \
         heartbeat is an election"
    )]
    Timing {
        /// Milliseconds.
        heartbeat: u64,
        /// Milliseconds.
        election: u64,
    },
    /// Nobody to join.
    #[error(
        "--initial-cluster-state existing: --initial-cluster names only this replica; name the members of the running \
         cluster too"
    )]
    NobodyToJoin,
    /// A witness that is no founder.
    #[error("--initial-witnesses has {name:?}, which --initial-cluster doesn't: it names {names}")]
    UnknownWitness {
        /// What stands there.
        name: String,
        /// Those in the cluster.
        names: String,
    },
    /// Only witnesses.
    #[error(
        "--initial-witnesses names all of --initial-cluster, and nobody could lead; leave two out"
    )]
    NobodyToLead,
    /// It is a witness to the others.
    #[error("--initial-witnesses has {name:?}, this replica: start it with --witness")]
    IsWitness {
        /// This replica.
        name: String,
    },
    /// It is none to the others.
    #[error(
        "--witness, but --initial-witnesses doesn't have {name:?}: name it there on all founders, or leave --witness out"
    )]
    NoWitness {
        /// This replica.
        name: String,
    },
}

const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;

impl Config {
    /// Checks settings against each other.
    ///
    /// # Errors
    /// If they can't be used, saying which and why.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigError> {
        check_timing(args)?;
        let joins = args.initial_cluster_state == ClusterState::Existing;
        let (own, mut founders) = args.member.founders()?;
        if !joins {
            name_witnesses(args, &mut founders)?;
        }
        let listen = single("--listen-peer-urls", &args.listen_peer_urls)?;
        let client_urls: Vec<&str> = args.listen_client_urls.split(',').collect();
        let client_addresses = client_urls
            .iter()
            .map(|url| resolve("--listen-client-urls", url))
            .collect::<Result<_, _>>()?;
        let advertised = args
            .advertise_client_urls
            .as_ref()
            .unwrap_or(&args.listen_client_urls);
        let advertised: Vec<String> = advertised.split(',').map(Into::into).collect();
        for url in &advertised {
            authority("--advertise-client-urls", url)?;
        }
        let data_dir = args.data_dir.clone();
        let data_dir = data_dir.unwrap_or_else(|| args.member.default_data_dir());
        if joins && founders.len() == 1 && !data_dir.exists() {
            return Err(ConfigError::NobodyToJoin);
        }
        Ok(Self {
            id: own.id,
            name: own.name,
            peer_url: own.peer_url,
            joins,
            is_witness: args.witness,
            founders,
            data_dir,
            token: args.member.initial_cluster_token.clone(),
            client_addresses,
            client_urls: advertised,
            peer_address: resolve("--listen-peer-urls", listen)?,
            heartbeat: Duration::from_millis(args.heartbeat_interval),
            election_timeout: Duration::from_millis(args.election_timeout),
            snapshot_count: args.snapshot_count,
            quota_bytes: quota(args.quota_backend_bytes),
            request_bytes_max: args.max_request_bytes as usize,
        })
    }
}

fn check_timing(args: &ServeArgs) -> Result<(), ConfigError> {
    let (heartbeat, election) = (args.heartbeat_interval, args.election_timeout);
    if election < 5 * heartbeat {
        return Err(ConfigError::Timing {
            heartbeat,
            election,
        });
    }
    Ok(())
}

/// What `serve` would take as flags, for the whole group.
///
/// # Errors
/// Says which can't be used, and why.
pub fn check_group_timing(timing: Timing) -> Result<(), String> {
    let (heartbeat, election) = (timing.heartbeat, timing.election);
    if heartbeat < Duration::from_millis(1) || heartbeat > Duration::from_secs(60) {
        return Err(format!(
            "a heartbeat every {heartbeat:?} can't be used; it may be 1ms to 60s; nothing was changed"
        ));
    }
    if election > Duration::from_secs(600) {
        return Err(format!(
            "an election timeout of {election:?} can't be used; it may be 600s at most; nothing was changed"
        ));
    }
    if election < 5 * heartbeat {
        return Err(format!(
            "the election timeout {election:?} must be at least five times the heartbeat {heartbeat:?}, else a lost \
             heartbeat is an election; nothing was changed"
        ));
    }
    Ok(())
}

/// As in etcd: 0 is the default, and below there is none.
fn quota(bytes: i64) -> u64 {
    match u64::try_from(bytes) {
        Ok(0) => DEFAULT_QUOTA_BYTES,
        Ok(bytes) => bytes,
        Err(_) => u64::MAX,
    }
}

/// What the founders say of each other, and this one of itself, must agree.
fn name_witnesses(args: &ServeArgs, founders: &mut [Founder]) -> Result<(), ConfigError> {
    let named = args.initial_witnesses.iter();
    let named = named.flat_map(|text| text.split(',').map(str::trim));
    for name in named.filter(|name| !name.is_empty()) {
        match founders.iter_mut().find(|it| it.name == name) {
            Some(founder) => founder.is_witness = true,
            None => {
                let (name, names) = (name.into(), names(founders));
                return Err(ConfigError::UnknownWitness { name, names });
            }
        }
    }
    if founders.iter().all(|it| it.is_witness) {
        return Err(ConfigError::NobodyToLead);
    }
    let name = args.member.name.clone();
    let own = founders.iter().find(|it| it.name == name);
    match own.map(|own| (own.is_witness, args.witness)) {
        Some((true, false)) => Err(ConfigError::IsWitness { name }),
        Some((false, true)) => Err(ConfigError::NoWitness { name }),
        _ => Ok(()),
    }
}

pub(crate) fn single<'a>(flag: &'static str, urls: &'a str) -> Result<&'a str, ConfigError> {
    if urls.contains(',') {
        let urls = urls.into();
        return Err(ConfigError::SeveralUrls { flag, urls });
    }
    authority(flag, urls)?;
    Ok(urls)
}

/// The `host:port` of a URL.
pub(crate) fn authority<'a>(flag: &'static str, url: &'a str) -> Result<&'a str, ConfigError> {
    let bad = || ConfigError::BadUrl {
        flag,
        url: url.into(),
    };
    if url.starts_with("https://") {
        let url = url.into();
        return Err(ConfigError::Tls { flag, url });
    }
    let rest = url.trim().strip_prefix("http://").ok_or_else(bad)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
    let valid = !host.is_empty() && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok();
    if valid { Ok(authority) } else { Err(bad()) }
}

fn resolve(flag: &'static str, url: &str) -> Result<SocketAddr, ConfigError> {
    let address = authority(flag, url)?;
    let unresolved = |reason: String| ConfigError::Unresolved {
        flag,
        address: address.into(),
        reason,
    };
    let found: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|error| unresolved(error.to_string()))?
        .collect();
    // Most clients try the older protocol first when a name has both.
    let first = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    first
        .copied()
        .ok_or_else(|| unresolved("the name is unknown".into()))
}

#[cfg(test)]
mod tests;
