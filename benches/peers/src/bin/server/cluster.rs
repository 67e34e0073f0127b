//! Three server processes that are one cluster, with etcd's flags, which ours has too.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;

const MEMBERS: usize = 3;
/// Longer than a busy machine needs to start three servers.
const BOUND: Duration = Duration::from_secs(60);

/// A running cluster; its processes and its directory are gone when this is.
pub struct Cluster {
    processes: Vec<Child>,
    clients: Vec<String>,
    dir: PathBuf,
}

impl Cluster {
    /// Starts `program` three times, with `first` before etcd's flags.
    pub fn start(name: &str, program: &Path, first: &[&str], parent: &Path) -> Self {
        let dir = parent.join(format!("{name}-{}", std::process::id()));
        let (clients, peers) = (free_urls(), free_urls());
        let named = peers
            .iter()
            .enumerate()
            .map(|(at, url)| format!("m{at}={url}"));
        let founders = named.collect::<Vec<_>>().join(",");
        let processes = (0..MEMBERS).map(|at| {
            Command::new(program)
                .args(first)
                .args(["--name", &format!("m{at}"), "--data-dir"])
                .arg(dir.join(at.to_string()))
                .args(["--listen-client-urls", &clients[at]])
                .args(["--advertise-client-urls", &clients[at]])
                .args(["--listen-peer-urls", &peers[at]])
                .args(["--initial-advertise-peer-urls", &peers[at]])
                .args(["--initial-cluster", &founders])
                .args(["--initial-cluster-state", "new", "--log-level", "error"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()))
        });
        let processes = processes.collect();
        Self {
            processes,
            clients,
            dir,
        }
    }

    /// The leader's client URL, once there is one that takes writes.
    pub async fn leader(&self) -> String {
        let begun = Instant::now();
        loop {
            for url in &self.clients {
                if leads(url).await.unwrap_or(false) {
                    return url.clone();
                }
            }
            assert!(begun.elapsed() < BOUND, "no leader in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn leads(url: &str) -> Result<bool, etcd_client::Error> {
    let mut client = Client::connect([url], None).await?;
    let status = client.status().await?;
    let own = status.header().map_or(0, |header| header.member_id());
    let leads = status.leader() == own && own != 0;
    if leads {
        client.put("ready", "yes", None).await?;
    }
    Ok(leads)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// On ports that were free a moment ago.
fn free_urls() -> Vec<String> {
    let sockets: Vec<TcpListener> = (0..MEMBERS)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    let addresses = sockets.iter().map(|s| s.local_addr().expect("bound"));
    addresses
        .map(|address| format!("http://{address}"))
        .collect()
}
