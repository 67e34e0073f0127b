//! Two full replicas and a witness as real processes: either replica may die, and nothing is lost.

mod bound;
mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bound::output;
use common::{Server, free_port};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);
const WITNESS: usize = 2;

fn run(endpoints: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_little-raft"));
    output(command.args(["--endpoints", endpoints]).args(args))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command prints, as soon as it succeeds.
fn soon(endpoints: &str, args: &[&str]) -> String {
    until(&format!("{args:?}"), || {
        let output = run(endpoints, args);
        output.status.success().then(|| text(&output.stdout))
    })
}

fn refused(endpoints: &str, args: &[&str], why: &str) {
    let output = run(endpoints, args);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains(why),
        "{args:?}: {said}"
    );
}

fn status(server: &Server) -> Option<Value> {
    let output = run(&server.client_url, &["status", "-w", "json"]);
    let answers: Value = serde_json::from_slice(&output.stdout).ok()?;
    let status = answers[0]["Status"].clone();
    status.is_object().then_some(status)
}

/// Which of the full replicas leads.
fn leader(three: &[Server]) -> usize {
    until("a leader", || {
        (0..WITNESS).find(|n| {
            let status = status(&three[*n]);
            status.is_some_and(|it| it["leader"] == it["header"]["member_id"])
        })
    })
}

fn signal(server: &Server, signal: &str) {
    let id = server.child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.expect("kill starts").success());
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("it can be read");
    let bytes = entries.map(|entry| {
        let entry = entry.expect("it can be read");
        let about = entry.metadata().expect("it is there");
        match about.is_dir() {
            true => bytes_in(&entry.path()),
            false => about.len(),
        }
    });
    bytes.sum()
}

fn all_keys(server: &Server) -> usize {
    let keys = soon(
        &server.client_url,
        &["get", "key", "--prefix", "--count-only"],
    );
    keys.trim().parse().expect("it is a count")
}

/// The witness alone has with the leader what the other replica lacks; then the leader dies.
#[test]
fn either_of_two_full_replicas_may_die_beside_a_witness() {
    let mut three = Server::two_and_a_witness();
    let (mut written, value) = (0, "x".repeat(10_000));
    for _ in 0..4 {
        let leads = leader(&three);
        let other = 1 - leads;
        signal(&three[other], "-STOP");
        for _ in 0..10 {
            soon(
                &three[leads].client_url,
                &["put", &format!("key{written}"), &value],
            );
            written += 1;
        }
        three[leads].kill();
        signal(&three[other], "-CONT");
        assert_eq!(
            all_keys(&three[other]),
            written,
            "all that was acknowledged"
        );
        for _ in 0..10 {
            soon(
                &three[other].client_url,
                &["put", &format!("key{written}"), &value],
            );
            written += 1;
        }
        three[leads].restart();
        assert_eq!(all_keys(&three[leads]), written, "it catches up");
    }
}

#[test]
fn a_witness_keeps_little() {
    let three = Server::two_and_a_witness();
    let leads = leader(&three);
    let value = "x".repeat(100_000);
    for n in 0..300 {
        soon(
            &three[leads].client_url,
            &["put", &format!("key{}", n % 10), &value],
        );
    }
    let used = |n: usize| bytes_in(&three[n].folder.0.join("data"));
    let bytes = until("a small directory", || {
        let bytes = used(WITNESS);
        (bytes < 20 << 20).then_some(bytes)
    });
    println!(
        "30 MB were written: {bytes} bytes at the witness, {} at the leader",
        used(leads)
    );
    assert!(!three[WITNESS].folder.0.join("data/store.redb").exists());
}

#[test]
fn a_witness_says_what_it_is_and_sends_others_on() {
    let three = Server::two_and_a_witness();
    let leads = leader(&three);
    let (full, witness) = (&three[leads].client_url, &three[WITNESS].client_url);
    let follows = until("it follows", || {
        status(&three[WITNESS]).filter(|it| it["leader"].is_u64())
    });
    assert_eq!(follows["isWitness"], true);
    let why = format!("a witness and has no data: ask another one, like the leader, m{leads}, ");
    for args in [
        &["get", "a"][..],
        &["put", "a", "b"],
        &["del", "a"],
        &["member", "list"],
        &["timing", "get"],
    ] {
        refused(witness, args, &why);
    }
    // Who knows others asks them, also to write: nothing was done.
    let both = format!("{witness},{full}");
    assert_eq!(soon(&both, &["put", "a", "b"]), "OK\n");
    assert_eq!(soon(&both, &["get", "a"]), "a\nb\n");

    let rows = soon(full, &["member", "list"]);
    for (n, row) in rows
        .lines()
        .map(|row| row.split(", "))
        .map(Vec::from_iter)
        .enumerate()
    {
        let is_witness = row[2] == "m2";
        assert_eq!(row[6], is_witness.to_string(), "{n}: {row:?}");
        assert_eq!(row[1], "started", "{row:?}");
        let to_witness = ["move-leader", row[0]];
        if is_witness {
            assert_eq!(row[4], "", "nobody is to ask it");
            refused(full, &to_witness, "a witness never leads");
        }
    }
    let shown = soon(&both, &["status", "-w", "table"]);
    assert!(shown.contains("IS WITNESS"), "{shown}");
}

#[test]
fn a_witness_joins_and_leaves() {
    let first = Server::ours();
    let members = first.flag("--initial-cluster");
    soon(&first.client_url, &["put", "key", "x"]);
    let join = |name: &str, flags: &[&str]| {
        let peer = format!("http://127.0.0.1:{}", free_port());
        let add = ["member", "add", name, "--peer-urls", &peer];
        let added = soon(&first.client_url, &[&add[..], flags].concat());
        let joined = Server::joining(name, &peer, &members, flags);
        until("it votes", || {
            let rows = soon(&first.client_url, &["member", "list"]);
            let is_it = |row: &&str| row.contains(&peer) && row.split(", ").nth(5) == Some("false");
            rows.lines()
                .find(is_it)
                .filter(|row| row.contains(name))
                .map(drop)
        });
        (added, joined)
    };
    let (_, mut second) = join("second", &[]);
    let (added, mut witness) = join("w", &["--witness"]);
    assert!(added.contains(" added as witness to cluster "), "{added}");
    assert!(added.contains("LITTLE_RAFT_WITNESS=\"true\""), "{added}");
    second.kill();
    assert_eq!(soon(&first.client_url, &["put", "key", "y"]), "OK\n");
    // Restarted with the same flags it is who it was.
    witness.kill();
    witness.restart();
    assert_eq!(soon(&first.client_url, &["put", "key", "z"]), "OK\n");
    second.restart();
    let rows = soon(&first.client_url, &["member", "list"]);
    let row = rows.lines().find(|row| row.ends_with(", true"));
    let id = row
        .expect("it is listed")
        .split(", ")
        .next()
        .expect("it has an id");
    soon(&first.client_url, &["member", "remove", id]);
    let ended = until("it ends", || {
        witness.child.try_wait().expect("it can be waited for")
    });
    assert_eq!(ended.code(), Some(0), "{}", witness.said());
}

/// What was a witness's directory is no full replica's, and the other way round.
#[test]
fn a_directory_stays_what_it_was() {
    let mut three = Server::two_and_a_witness();
    leader(&three);
    let dirs = [0, WITNESS].map(|n| three[n].flag("--data-dir"));
    three[0].kill();
    three[WITNESS].kill();
    let mut recover = Command::new(env!("CARGO_BIN_EXE_little-raft"));
    let said = output(recover.args(["recover", "--data-dir", &dirs[1]]));
    let said = text(&said.stderr);
    assert!(said.contains("is a witness, without a state"), "{said}");
    three[0].set_flag("--data-dir", &dirs[1]);
    three[WITNESS].set_flag("--data-dir", &dirs[0]);
    for (n, why) in [
        (0, "is a witness's, without data: start it with --witness"),
        (
            WITNESS,
            "is a full replica's, with data: start it without --witness",
        ),
    ] {
        three[n].restart();
        let child = &mut three[n].child;
        let ended = until("it ends", || {
            child.try_wait().expect("it can be waited for")
        });
        assert_eq!(ended.code(), Some(1));
        assert!(three[n].said().contains(why), "{}", three[n].said());
    }
}

/// Added as one kind and started as the other it stops, and says how it was meant.
#[test]
fn who_is_started_as_another_kind_than_it_was_added_says_so() {
    let first = Server::ours();
    let members = first.flag("--initial-cluster");
    let peer = format!("http://127.0.0.1:{}", free_port());
    let add = ["member", "add", "w", "--witness", "--peer-urls", &peer];
    soon(&first.client_url, &add);
    let mut full = Server::joining("w", &peer, &members, &[]);
    let ended = until("it ends", || {
        full.child.try_wait().expect("it can be waited for")
    });
    assert_eq!(ended.code(), Some(1));
    let said = full.said();
    assert!(
        said.contains("has this member for a witness") && said.contains("start it with --witness"),
        "{said}"
    );
}
