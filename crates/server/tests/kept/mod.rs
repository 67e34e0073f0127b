//! One replica that has acknowledged writes, and what can be done to it.

#![allow(dead_code)] // each test uses its part

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use little_raft_server::demo::client::{Client, Outcome};

use crate::bound::{block_on, ended};
use crate::common::{Folder, Server};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_little-raft");
pub const TIMEOUT: Duration = Duration::from_secs(20);
pub const WRITES: usize = 30;

/// How a program ended that should not have started.
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
}

impl Ended {
    pub fn with(&self, code: i32, texts: &[&str]) {
        for text in texts {
            assert!(self.said.contains(text), "no {text:?} in: {}", self.said);
        }
        assert_eq!(self.code, Some(code), "{}", self.said);
    }
}

/// Runs the program until it ends by itself.
pub fn run(args: &[String]) -> Ended {
    let child = Command::new(PROGRAM)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = ended(child, TIMEOUT);
    Ended {
        code: output.status.code(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn key(number: usize) -> String {
    format!("kept/{number:03}")
}

pub fn value(number: usize) -> String {
    format!("the value number {number:03}")
}

/// One replica that has acknowledged some writes.
pub struct Kept(pub Server);

impl Kept {
    /// Killed with SIGKILL right after the last acknowledgement.
    pub fn killed() -> Self {
        let mut kept = Self::running();
        kept.0.kill();
        kept
    }

    pub fn running() -> Self {
        let kept = Self(Server::ours());
        block_on(async {
            kept.0.channel().await;
            let client = kept.client();
            for number in 0..WRITES {
                kept.put(&client, &key(number), &value(number)).await;
            }
        });
        kept
    }

    /// Until it is acknowledged: on a busy machine even a connection may not be made in time.
    async fn put(&self, client: &Client, key: &str, value: &str) {
        let begun = Instant::now();
        loop {
            match client.put(key, value, TIMEOUT).await {
                Outcome::Acknowledged { .. } => return,
                Outcome::Unsent if begun.elapsed() < TIMEOUT => {}
                outcome => panic!("{key}: {outcome:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.0.client_url.trim_start_matches("http://"))
    }

    pub fn data(&self) -> PathBuf {
        self.0.folder.0.join("data")
    }

    pub fn segment(&self) -> PathBuf {
        self.data().join("raft/0000000000000001.log")
    }

    /// The command line, with other values for some flags.
    pub fn args_with(&self, changes: &[(&str, &str)]) -> Vec<String> {
        let mut args = self.0.args();
        for (flag, value) in changes {
            match args.iter().position(|arg| arg == flag) {
                Some(at) => args[at + 1] = (*value).into(),
                None => args.extend([(*flag).into(), (*value).into()]),
            }
        }
        args
    }

    pub fn refused_with(&self, changes: &[(&str, &str)]) -> Ended {
        run(&self.args_with(changes))
    }

    pub fn flag(&self, flag: &str) -> String {
        let args = self.0.args();
        let at = args.iter().position(|arg| arg == flag);
        args[at.expect("it is given") + 1].clone()
    }

    /// Starts it again, as it was started first, and reads all that was acknowledged.
    pub fn is_intact(&mut self) {
        self.0.restart();
        self.answers();
    }

    pub fn answers(&self) {
        block_on(async {
            self.0.channel().await;
            let found = self.client().get_all("kept/", None).await;
            let (_, found) = found.expect("it answers");
            let found: Vec<(&[u8], &[u8])> = found
                .iter()
                .map(|kv| (&kv.key[..], &kv.value[..]))
                .collect();
            let kept: Vec<(String, String)> = (0..WRITES).map(|n| (key(n), value(n))).collect();
            let kept: Vec<(&[u8], &[u8])> = kept
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
                .collect();
            assert_eq!(found, kept);
        });
    }
}

/// A small disk of its own, if this user may mount one.
pub struct Disk {
    pub path: PathBuf,
    _folder: Option<Folder>,
}

impl Disk {
    pub fn mount(options: &str) -> Option<Self> {
        let folder = Folder::new();
        let path = folder.0.join("disk");
        let mut disk = Self::at(&path, options)?;
        disk._folder = Some(folder);
        Some(disk)
    }

    pub fn at(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir(path).expect("it can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("skipped: this user may not mount a disk");
            return None;
        }
        Some(Self {
            path: path.into(),
            _folder: None,
        })
    }

    /// Until not a byte more fits.
    pub fn fill(&self) {
        let mut ballast = fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("it can be made");
        for bytes in [64 << 10, 4 << 10, 1] {
            while ballast.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    /// There is space again.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("it is full");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    pub fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path)
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "remount {options}"
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
