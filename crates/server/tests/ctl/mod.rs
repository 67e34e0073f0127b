//! The program's own words, said to servers, for the tests beside this.

#![allow(dead_code)] // each test uses its part

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::bound::output;

const TIMEOUT: Duration = Duration::from_secs(60);

pub fn ctl(args: &[&str]) -> Output {
    output(Command::new(env!("CARGO_BIN_EXE_little-raft")).args(args))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Repeats it until it succeeds.
pub fn soon(endpoints: &str, args: &[&str]) -> String {
    let mut said = None;
    until(&format!("{args:?}"), || {
        let output = ctl(&[&["--endpoints", endpoints], args].concat());
        said = output.status.success().then(|| text(&output.stdout));
        said.is_some()
    });
    said.expect("waited for")
}

/// The rows of `member list`.
pub fn members(endpoints: &str) -> Vec<String> {
    let list = soon(endpoints, &["member", "list"]);
    list.lines().map(Into::into).collect()
}

/// What follows `label` on its line.
pub fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.split_once(label));
    line.unwrap_or_else(|| panic!("no {label:?} in: {text}")).1
}

/// The newest that it shows.
pub fn revision(endpoint: &str) -> i64 {
    let shown = soon(endpoint, &["get", "key0", "--write-out=json"]);
    let number = after(&shown, "\"revision\":");
    let number = number.split([',', '}']).next().expect("a number");
    number.trim_matches('"').parse().expect("a number")
}
