//! One server's process, its ports and its disk.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::disk::Disk;

/// An orderly stop takes no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Frequent snapshots: who was away catches up by one.
const SNAPSHOT_COUNT: &str = "--snapshot-count=300";

/// What makes a server this one.
#[derive(Clone, Debug)]
pub struct Address {
    pub name: String,
    pub client: u16,
    /// Where its peers reach it: the proxy.
    pub public: u16,
    /// Where it listens for them.
    pub private: u16,
}

impl Address {
    /// Its part of `--initial-cluster`.
    pub fn entry(&self) -> String {
        format!("{}=http://{}", self.name, self.peer())
    }

    pub fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.public)
    }
}

pub struct Member {
    pub address: Address,
    /// Known once the cluster runs.
    pub id: u64,
    /// Its data, if a small disk could be mounted for it.
    pub disk: Option<Disk>,
    child: Option<Child>,
    args: Vec<String>,
    folder: PathBuf,
    /// It was given cause to end by itself.
    may_end: bool,
    is_paused: bool,
}

impl Member {
    /// Not started yet. `cluster` and `state` are flags of `serve`.
    pub fn new(address: Address, folder: &Path, cluster: &str, state: &str) -> Self {
        let folder = folder.join(&address.name);
        let data = folder.join("data");
        fs::create_dir_all(&data).expect("the temporary directory is writable");
        let args = vec![
            "serve".into(),
            format!("--name={}", address.name),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls=http://127.0.0.1:{}", address.client),
            format!("--listen-peer-urls=http://127.0.0.1:{}", address.private),
            format!("--initial-advertise-peer-urls=http://{}", address.peer()),
            format!("--initial-cluster={cluster}"),
            format!("--initial-cluster-state={state}"),
            "--initial-cluster-token=chaos".into(),
            "--exit-with-stdin".into(),
            SNAPSHOT_COUNT.into(),
        ];
        Self {
            address,
            id: 0,
            disk: None,
            child: None,
            args,
            folder,
            may_end: false,
            is_paused: false,
        }
    }

    /// Its data, which it doesn't have yet, get a small disk of their own, if this user may mount one.
    pub fn mount(&mut self) {
        self.disk = Disk::at(&self.folder.join("data"));
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.address.name);
        let log = File::options().create(true).append(true).open(self.log());
        // A shell hands on that a file beyond its limit is an error to be told, and no signal to die of.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_little-raft"))
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log.expect("it can be made"))
            // The system wakes a paused group whose parent is gone.
            .process_group(0);
        self.child = Some(command.spawn().expect("the program starts"));
        self.may_end = false;
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.is_paused = false;
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it can be waited for");
        }
    }

    /// SIGTERM, and SIGKILL if that is not enough: then it says so.
    pub async fn stop(&mut self) -> Result<(), String> {
        self.may_end = true;
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT {
            if self.ended().is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        let name = &self.address.name;
        Err(format!("{name} did not stop within {STOP_TIMEOUT:?}"))
    }

    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.is_paused = true;
    }

    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.is_paused = false;
    }

    /// No file of it may grow beyond so many bytes: writes fail.
    pub fn limit_files(&mut self, bytes: u64) {
        self.may_end = true;
        self.set_limit(Some(bytes));
    }

    /// Files may grow again. It may have ended all the same, if it has not been seen yet.
    pub fn lift_limit(&mut self) {
        self.set_limit(None);
    }

    fn set_limit(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        if let Some(child) = &self.child {
            // One that has just ended has no limits.
            let _ = prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit);
        }
    }

    /// It may end by itself until it is started again: its disk is going to fail it, or it is being removed.
    pub fn let_end(&mut self) {
        self.may_end = true;
    }

    /// Whether it ended since it was started: how, if nobody gave it cause to.
    pub fn ended(&mut self) -> Option<Result<ExitStatus, String>> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().expect("it can be waited for")?;
        self.child = None;
        self.is_paused = false;
        // An own panic ends it in no case.
        if self.may_end && status.code().is_some_and(|code| code < 2) {
            return Some(Ok(status));
        }
        let name = &self.address.name;
        Some(Err(format!(
            "{name} ended by itself with {status}: {}",
            self.last_words()
        )))
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // One that ended keeps its id until it is waited for.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The largest file that it has.
    pub fn largest_file(&self) -> u64 {
        fn largest(folder: &Path) -> u64 {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let sizes = entries.map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => largest(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            });
            sizes.max().unwrap_or(0)
        }
        largest(&self.folder)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
