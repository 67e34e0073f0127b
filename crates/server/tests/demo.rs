//! The demo as somebody runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT: Duration = Duration::from_secs(60);

fn demo(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_little-raft"));
    command.arg("demo").args(flags).stdin(Stdio::null());
    command
}

#[test]
fn the_tour_holds_and_says_so() {
    let output = demo(&["--tour", "--json"])
        .output()
        .expect("the program starts");
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
    let mut demo = demo(&["--dir", &dir.display().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut story = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
    let writes = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("2. Write"));
    assert!(story.by_ref().any(writes), "it tells its story");
    let children = children(&demo);
    assert_eq!(children.len(), 3);
    // One that is paused can't notice anything by itself.
    kill_process(children[0], Signal::STOP).expect("it runs");
    wait_until("it is paused", || {
        state(children[0]).as_deref() == Some("T")
    });
    demo.kill().expect("it runs");
    demo.wait().expect("it can be waited for");
    wait_until("no child outlives the demo", || {
        !children.iter().any(|pid| lives(*pid))
    });
    drop(fs::remove_dir_all(dir));
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut demo = demo(&[])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut story = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
    let mut told = String::new();
    while !told.contains("2. Write") {
        told += &story.next().expect("it goes on").expect("it is text");
        told.push('\n');
    }
    let (children, folder) = (children(&demo), folder_in(&told));
    assert!(folder.exists());
    kill_process(Pid::from_child(&demo), Signal::TERM).expect("it runs");
    let status = demo.wait().expect("it can be waited for");
    assert_eq!(status.code(), Some(130));
    assert!(children.iter().all(|pid| !lives(*pid)));
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

#[test]
fn a_folder_that_cant_be_used_is_named() {
    let file = std::env::temp_dir().join(format!("little-raft-demo-file-{}", std::process::id()));
    fs::write(&file, "in the way").expect("it can be written");
    let output = demo(&["--dir", &file.display().to_string()])
        .output()
        .expect("the program starts");
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
