//! The demo as somebody runs it.

mod bound;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bound::output;
use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT: Duration = Duration::from_secs(60);

fn demo(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_little-raft"));
    command.arg("demo").args(flags).stdin(Stdio::null());
    command
}

/// A demo that tells its story into a pipe, and ends with its owner.
struct Demo {
    process: Child,
    lines: Receiver<String>,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let mut process = demo(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let story = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let told = story.lines().map_while(Result::ok);
            told.for_each(|line| drop(sender.send(line)));
        });
        Self { process, lines }
    }

    /// All that it tells up to a line with this text.
    fn tells(&self, text: &str) -> String {
        let begun = Instant::now();
        let mut told = String::new();
        while !told.contains(text) {
            let left = TIMEOUT.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => told = told + &line + "\n",
                Err(error) => panic!("waited for {text:?}: {error}; it told: {told}"),
            }
        }
        told
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the demo ends", || {
            status = self.process.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn the_tour_holds_and_says_so() {
    let output = output(&mut demo(&["--tour", "--json"]));
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{story}");
    let figures: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    assert_eq!(figures["ok"], true, "{figures}\n{story}");
    assert_eq!(figures["lost"], 0);
    let number = |name: &str| figures[name].as_f64().expect("it is a number");
    assert!(number("acknowledged") > 0.0);
    assert!(number("writes") >= number("acknowledged"));
    assert!(number("linearizable_reads") > 0.0);
    assert!(number("failover_ms") > 0.0);
    assert!(number("restart_catch_up_ms") > 0.0);
    let folder = folder_in(&story);
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

#[test]
fn children_end_with_a_demo_that_is_killed() {
    let dir = std::env::temp_dir().join(format!("little-raft-demo-test-{}", std::process::id()));
    let mut demo = Demo::start(&["--dir", &dir.display().to_string()]);
    demo.tells("2. Write");
    let children = children(&demo.process);
    assert_eq!(children.len(), 3);
    // One that is paused can't notice anything by itself.
    kill_process(children[0], Signal::STOP).expect("it runs");
    wait_until("it is paused", || {
        state(children[0]).as_deref() == Some("T")
    });
    demo.process.kill().expect("it runs");
    demo.ended();
    wait_until("no child outlives the demo", || {
        !children.iter().any(|pid| lives(*pid))
    });
    drop(fs::remove_dir_all(dir));
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut demo = Demo::start(&[]);
    let told = demo.tells("2. Write");
    let (children, folder) = (children(&demo.process), folder_in(&told));
    assert!(folder.exists());
    kill_process(Pid::from_child(&demo.process), Signal::TERM).expect("it runs");
    assert_eq!(demo.ended().code(), Some(130));
    assert!(children.iter().all(|pid| !lives(*pid)));
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

#[test]
fn a_folder_that_cant_be_used_is_named() {
    let file = std::env::temp_dir().join(format!("little-raft-demo-file-{}", std::process::id()));
    fs::write(&file, "in the way").expect("it can be written");
    let output = output(&mut demo(&["--dir", &file.display().to_string()]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(&format!("can't use {}", file.display())),
        "{stderr}"
    );
    assert!(stderr.contains("choose another with --dir"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    drop(fs::remove_file(file));
}

/// The first replica's line names its directory.
fn folder_in(story: &str) -> PathBuf {
    let line = story.lines().find(|line| line.starts_with("  1  http://"));
    let data = line.and_then(|line| line.split_whitespace().last());
    let data = PathBuf::from(data.expect("the demo says where the data is"));
    data.parent().expect("it is in the demo's folder").into()
}

fn children(of: &Child) -> Vec<Pid> {
    let parent = of.id().to_string();
    let processes = fs::read_dir("/proc").expect("there is /proc");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| stat(*pid).is_some_and(|fields| fields[1] == parent))
        .filter_map(Pid::from_raw)
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A zombie is dead: whoever inherited it may not have looked yet.
fn lives(pid: Pid) -> bool {
    state(pid).is_some_and(|state| state != "Z")
}

fn state(pid: Pid) -> Option<String> {
    Some(stat(pid.as_raw_nonzero().get())?.swap_remove(0))
}

/// State, parent and more.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(Into::into).collect())
}
