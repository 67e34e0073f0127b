//! Servers as real processes, for the tests beside this.

#![allow(dead_code)] // each test uses its part

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::Channel;

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A folder that goes away with its owner.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("little-raft-server-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A port that was free just now. Below those that the system gives to outgoing connections: one of these could take
/// it before its server is there, or while that is down. Each process begins its search elsewhere.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 10_000;
    static SEARCHES: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(37);
    let ports = (0..COUNT).map(|_| {
        let search = SEARCHES.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(search) % COUNT;
        u16::try_from(port).expect("it is below 20,000")
    });
    ports
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("loopback has free ports")
}

/// A server that is killed with its owner.
pub struct Server {
    pub child: Child,
    pub client_url: String,
    pub folder: Folder,
    program: PathBuf,
    args: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.client_url, self.said());
        }
    }
}

impl Server {
    pub fn ours() -> Self {
        Self::ours_with(&[])
    }

    pub fn ours_with(flags: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_little-raft"));
        Self::start(program, &[&["serve"], flags].concat())
    }

    pub fn etcd(program: &Path) -> Self {
        Self::start(program, &["--log-level", "error"])
    }

    fn start(program: &Path, first: &[&str]) -> Self {
        let peer_url = format!("http://127.0.0.1:{}", free_port());
        Self::start_member(program, first, &peer_url, &format!("default={peer_url}"))
    }

    fn start_member(program: &Path, first: &[&str], peer_url: &str, cluster: &str) -> Self {
        let folder = Folder::new();
        let client_url = format!("http://127.0.0.1:{}", free_port());
        let data_dir = folder.0.join("data").display().to_string();
        let flags = [
            ["--listen-client-urls", &client_url],
            ["--advertise-client-urls", &client_url],
            ["--listen-peer-urls", peer_url],
            ["--initial-advertise-peer-urls", peer_url],
            ["--initial-cluster", cluster],
            ["--data-dir", &data_dir],
        ];
        let args: Vec<String> = first
            .iter()
            .copied()
            .chain(flags.into_iter().flatten())
            .map(Into::into)
            .collect();
        Self {
            child: spawn(program, &args, &folder),
            client_url,
            folder,
            program: program.into(),
            args,
        }
    }

    /// Three of ours that know each other.
    pub fn three() -> Vec<Self> {
        Self::three_with(&[])
    }

    /// Three of ours with these flags.
    pub fn three_with(flags: &[&str]) -> Vec<Self> {
        Self::group(&[flags; 3])
    }

    /// Two full replicas, m0 and m1, and a witness, m2.
    pub fn two_and_a_witness() -> Vec<Self> {
        let full = ["--initial-witnesses", "m2"];
        let witness = ["--initial-witnesses", "m2", "--witness"];
        Self::group(&[&full, &full, &witness])
    }

    /// Some of ours, each with flags of its own.
    fn group(flags: &[&[&str]]) -> Vec<Self> {
        let peers: Vec<String> = flags
            .iter()
            .map(|_| format!("http://127.0.0.1:{}", free_port()))
            .collect();
        let founders: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(n, url)| format!("m{n}={url}"))
            .collect();
        let cluster = founders.join(",");
        let program = Path::new(env!("CARGO_BIN_EXE_little-raft"));
        let one = |(n, peer_url): (usize, &String)| {
            let name = format!("m{n}");
            let first = [&["serve", "--name", &name], flags[n]].concat();
            Self::start_member(program, &first, peer_url, &cluster)
        };
        peers.iter().enumerate().map(one).collect()
    }

    /// One that joins a cluster; `members` are those in it, as name=url.
    pub fn joining(name: &str, peer_url: &str, members: &str, flags: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_little-raft"));
        let first = [
            "serve",
            "--name",
            name,
            "--initial-cluster-state",
            "existing",
        ];
        let first = [&first[..], flags].concat();
        let cluster = format!("{members},{name}={peer_url}");
        Self::start_member(program, &first, peer_url, &cluster)
    }

    /// The value of one of its flags.
    pub fn flag(&self, flag: &str) -> String {
        let at = self.args.iter().position(|arg| arg == flag);
        self.args[at.expect("it is given") + 1].clone()
    }

    /// From the next start on.
    pub fn set_flag(&mut self, flag: &str, value: &str) {
        match self.args.iter().position(|arg| arg == flag) {
            Some(at) => self.args[at + 1] = value.into(),
            None => self.args.extend([flag.to_owned(), value.to_owned()]),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }

    /// The whole command line behind the program's name.
    pub fn args(&self) -> Vec<String> {
        self.args.clone()
    }

    /// Starts it again after it ended.
    pub fn restart(&mut self) {
        self.child = spawn(&self.program, &self.args, &self.folder);
    }

    /// What it has told since it was started first.
    pub fn said(&self) -> String {
        std::fs::read_to_string(log(&self.folder)).unwrap_or_default()
    }

    /// Connects as soon as the server answers.
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.client_url.clone()).expect("it is a URL");
        let start = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) if start.elapsed() > START_TIMEOUT => {
                    panic!("{}: {error}", self.client_url)
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel().await).max_decoding_message_size(usize::MAX)
    }
}

fn spawn(program: &Path, args: &[String], folder: &Folder) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log(folder))
        .expect("it can be made");
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the program starts")
}

fn log(folder: &Folder) -> PathBuf {
    folder.0.join("log")
}
