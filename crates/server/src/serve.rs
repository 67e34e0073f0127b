//! A replica with its API, from start to stop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::announce::announce;
use crate::api::Api;
use crate::api::witness::Witness;
use crate::config::{Config, ConfigError, ServeArgs};
use crate::data_dir::{self, DirError, log_dir, store_file};
use crate::engine::{self, Engine};
use crate::proto::command::MemberAttributes;
use crate::store::{Store, StoreError};
use little_raft::core::ReplicaId;
use little_raft::{
    Builder, Replica, StartError, StateMachine, StopReason, Storage, Timing, WalStorage,
};

/// Requests under way get so long when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A proposal or read waits so long for a leader, and two election timeouts more; then as long again for its end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A storage read on one of them must not hold up the others.
const RUNTIME_THREADS_MIN: usize = 4;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DirError),
    /// The port can't be used.
    #[error(
        "can't listen on {address} for clients: {source}; choose another with --listen-client-urls"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// To its group it is the other kind of member.
    #[error(
        "its cluster has this member for {}: empty its data directory and start it {} --witness, or remove the member \
         and add it anew",
        if *.is_witness { "a full one" } else { "a witness" },
        if *.is_witness { "without" } else { "with" }
    )]
    Misfit {
        /// Whether it was started as a witness.
        is_witness: bool,
    },
    /// The replica couldn't start.
    #[error("the replica can't start: {0}")]
    Start(StartError),
    /// The replica can't go on.
    #[error("the replica stopped: {0}")]
    Stopped(StopReason),
    /// The operating system refused.
    #[error("can't {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::IsWitness { .. } => Self::Misfit { is_witness: false },
            StartError::NoWitness { .. } => Self::Misfit { is_witness: true },
            error => Self::Start(error),
        }
    }
}

impl ServeError {
    /// 2 for bad usage, 3 for damaged data, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Store(StoreError::Damaged { .. }) => ExitCode::from(3),
            Self::Start(error) if is_damage(error) => ExitCode::from(3),
            _ => ExitCode::from(1),
        }
    }
}

/// The library passes a storage's own words on.
fn is_damage(error: &StartError) -> bool {
    match error {
        StartError::Damaged(_) => true,
        StartError::Storage(error) => error.to_string().contains(" is damaged at byte "),
        _ => false,
    }
}

/// Serves until a signal asks to stop, or the replica can't go on.
///
/// # Errors
/// If it can't start, or broke.
pub fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    start_logging(args);
    if args.exit_with_stdin {
        end_with_parent();
    }
    let config = Config::new(args)?;
    let threads =
        std::thread::available_parallelism().map_or(RUNTIME_THREADS_MIN, |count| count.get());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(RUNTIME_THREADS_MIN))
        .enable_all()
        .build()
        .map_err(|source| ServeError::System {
            action: "start the runtime",
            source,
        })?;
    runtime.block_on(run(config))
}

/// Even a parent killed with SIGKILL closes its end of the pipe. As with SIGKILL, nothing acknowledged is lost.
fn end_with_parent() {
    // A paused process notices no pipe; the kernel can end it all the same. Where it can't, the pipe must do.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
    std::thread::spawn(|| {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    });
}

fn start_logging(args: &ServeArgs) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(args.log_level)
        .with_writer(io::stderr)
        // Where the log can't be written, neither can the complaint: it would panic.
        .log_internal_errors(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    // Another one in this process, in tests, serves as well.
    drop(subscriber.try_init());
}

async fn run(config: Config) -> Result<(), ServeError> {
    let stopping = stop_signal()?;
    // Ports first: a port in use is the commonest mistake, and should leave no directory behind.
    let mut listeners = Vec::new();
    for address in &config.client_addresses {
        listeners.push(listen(*address).await?);
    }
    let ended = match config.is_witness {
        true => witness(&config, listeners, stopping).await?,
        false => full(&config, listeners, stopping).await?,
    };
    tracing::info!("stopped");
    match ended {
        None => Ok(()),
        // That is what was asked for, and starting it again would change nothing: no failure, as in etcd.
        Some(StopReason::Removed) => {
            let dir = config.data_dir.display();
            tracing::warn!(
                "this replica was removed from its cluster for good: remove {dir}, its data, before a new one starts there"
            );
            Ok(())
        }
        Some(StopReason::Misfit) => Err(ServeError::Misfit {
            is_witness: config.is_witness,
        }),
        Some(reason) => Err(ServeError::Stopped(reason)),
    }
}

/// Serves as a replica with data.
async fn full(
    config: &Config,
    listeners: Vec<TcpListener>,
    stopping: watch::Receiver<bool>,
) -> Result<Option<StopReason>, ServeError> {
    let api = Arc::new(start(config)?);
    tracing::info!(id = %format_args!("{:x}", api.id.0), urls = ?config.client_urls, "serving clients");
    let announcing = announce(
        Arc::clone(&api),
        own(config, api.id),
        config.peer_url.clone(),
    );
    let announcing = tokio::spawn(announcing);
    let router = Arc::clone(&api).router();
    let ended = serve_all(router, api.engine.ended(), listeners, stopping).await;
    announcing.abort();
    // Blocks until all is flushed; nothing else runs here any more.
    tokio::task::block_in_place(|| api.engine.stop());
    Ok(ended)
}

/// Serves as a witness.
async fn witness(
    config: &Config,
    listeners: Vec<TcpListener>,
    stopping: watch::Receiver<bool>,
) -> Result<Option<StopReason>, ServeError> {
    data_dir::claim(&config.data_dir, true)?;
    let id = id(config)?;
    let replica = group(config, id).start(little_raft::Witness)?;
    let names = config.founders.iter().map(|it| (it.id, it.name.clone()));
    let witness = Arc::new(Witness {
        replica,
        names: names.collect(),
    });
    tracing::info!(id = %format_args!("{:x}", id.0), "a witness: it votes, and has no data");
    let ended = engine::ended(&witness.replica);
    let ended = serve_all(Arc::clone(&witness).router(), ended, listeners, stopping).await;
    tokio::task::block_in_place(|| witness.replica.stop());
    Ok(ended)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServeError::Listen { address, source })
}

fn start(config: &Config) -> Result<Api, ServeError> {
    data_dir::claim(&config.data_dir, false)?;
    let timeout = request_timeout(config);
    let store = Store::open(&store_file(&config.data_dir))?;
    let reader = store.reader();
    let id = id(config)?;
    let replica = group(config, id).start(store)?;
    Ok(Api {
        reader,
        engine: Engine::new(replica, config.request_bytes_max, timeout + REQUEST_TIMEOUT),
        id,
        known: known(config, id),
        token: config.token.clone(),
        quota_bytes: config.quota_bytes,
        request_bytes_max: config.request_bytes_max,
    })
}

fn request_timeout(config: &Config) -> Duration {
    REQUEST_TIMEOUT + 2 * config.election_timeout
}

/// Whoever has joined keeps the id of that time, wherever it is reached today.
fn id(config: &Config) -> Result<ReplicaId, ServeError> {
    if !config.joins {
        return Ok(config.id);
    }
    let recorded = WalStorage::new(log_dir(&config.data_dir)).identity();
    let recorded = recorded.map_err(StartError::Storage)?;
    Ok(recorded.map_or(config.id, |identity| identity.replica))
}

fn group<M: StateMachine>(config: &Config, id: ReplicaId) -> Builder<M> {
    let members = config.founders.iter().map(|it| {
        let is_own = it.id == config.id;
        (if is_own { id } else { it.id }, &it.peer_address[..])
    });
    let witnesses = config.founders.iter().filter(|it| it.is_witness);
    let builder = match config.joins {
        true => Replica::builder(id).join(members),
        false => Replica::builder(id).members(members),
    };
    let timing = Timing {
        heartbeat: config.heartbeat,
        election: config.election_timeout,
    };
    builder
        .witnesses(witnesses.map(|it| it.id))
        .cluster_token(&config.token)
        .data_dir(log_dir(&config.data_dir))
        .listen(config.peer_address.to_string())
        .timing(timing)
        .snapshot_entries(config.snapshot_count)
        .proposal_timeout(request_timeout(config))
}

/// What this replica says of itself.
fn own(config: &Config, id: ReplicaId) -> MemberAttributes {
    MemberAttributes {
        id: id.0,
        name: config.name.clone(),
        client_urls: config.client_urls.clone(),
    }
}

fn known(config: &Config, id: ReplicaId) -> BTreeMap<u64, MemberAttributes> {
    let founders = config.founders.iter().filter(|_| !config.joins);
    let founders = founders.map(|founder| MemberAttributes {
        id: founder.id.0,
        name: founder.name.clone(),
        client_urls: Vec::new(),
    });
    let all = founders.chain([own(config, id)]);
    all.map(|it| (it.id, it)).collect()
}

/// Serves until told to stop, or until the replica has ended by itself: then it returns why.
async fn serve_all(
    router: Router,
    broken: impl Future<Output = StopReason>,
    listeners: Vec<TcpListener>,
    mut stopping: watch::Receiver<bool>,
) -> Option<StopReason> {
    let (stop_servers, _) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in listeners {
        let routes = Routes::from(router.clone());
        let mut stop = stop_servers.subscribe();
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        servers.spawn(
            Server::builder()
                .accept_http1(true)
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, stopped),
        );
    }
    let failure = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => None,
        reason = broken => Some(reason),
    };
    tracing::info!("stopping");
    stop_servers.send_replace(true);
    let finished = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, finished).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    failure
}

fn stop_signal() -> Result<watch::Receiver<bool>, ServeError> {
    use tokio::signal::unix::{SignalKind, signal};

    let failed = |source| ServeError::System {
        action: "listen for signals",
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Whoever asks twice means it.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(receiver)
}
