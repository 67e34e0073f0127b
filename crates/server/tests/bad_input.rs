//! What people and disks do to the program: it says what happened, to what, and what to do, and what it has
//! acknowledged is still there afterwards.

mod bound;
mod common;
mod kept;
mod three;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use bound::{block_on, ended};
use common::free_port;
use kept::{Disk, Ended, Kept, PROGRAM, TIMEOUT, WRITES, run, value};
use little_raft_server::demo::client::Outcome;
use three::Three;

#[test]
fn a_port_in_use_is_named() {
    let mut kept = Kept::killed();
    for (flag, name) in [
        ("--listen-client-urls", "clients"),
        ("--listen-peer-urls", "peers"),
    ] {
        let address = kept.flag(flag).replace("http://", "");
        let held = TcpListener::bind(&address).expect("it is free now");
        let ended = kept.refused_with(&[]);
        ended.with(
            1,
            &["can't listen on ", &address, " in use", "choose another"],
        );
        drop((held, name));
    }
    kept.is_intact();
}

#[test]
fn a_directory_in_use_stays_with_whoever_has_it() {
    let kept = Kept::running();
    let (client, peer) = (
        format!("http://127.0.0.1:{}", free_port()),
        format!("http://127.0.0.1:{}", free_port()),
    );
    let ended = kept.refused_with(&[
        ("--listen-client-urls", &client),
        ("--listen-peer-urls", &peer),
    ]);
    ended.with(1, &["in use by another", "process", "stop that one"]);
    kept.answers();
}

#[test]
fn a_directory_that_cant_be_written_is_named() {
    let Some(disk) = Disk::mount("size=16m") else {
        return;
    };
    let mut kept = Kept::killed();
    let moved = disk.path.join("data");
    copy(&kept.data(), &moved);
    disk.remount("ro");
    let ended = kept.refused_with(&[("--data-dir", &moved.display().to_string())]);
    ended.with(1, &[&moved.display().to_string(), "ead-only"]);
    kept.is_intact();
}

#[test]
fn another_clusters_directory_is_refused() {
    let mut kept = Kept::killed();
    let ended = kept.refused_with(&[("--initial-cluster-token", "other")]);
    let directory = kept.data().display().to_string();
    ended.with(
        1,
        &[
            &directory,
            "belongs to cluster",
            "token",
            "choose another directory",
        ],
    );
    kept.is_intact();
}

#[test]
fn other_founders_than_recorded_are_refused() {
    let mut kept = Kept::killed();
    let more = format!("{},more=http://127.0.0.1:1", kept.flag("--initial-cluster"));
    let ended = kept.refused_with(&[("--initial-cluster", &more)]);
    let directory = kept.data().display().to_string();
    ended.with(
        1,
        &[
            &directory,
            "was founded by",
            "127.0.0.1:1",
            "give the founders again",
        ],
    );
    kept.is_intact();
}

#[test]
fn another_replicas_directory_is_refused() {
    let (mut three, ledger) = block_on(async {
        let mut three = Three::start(&[]).await;
        let writer = three.write(4);
        three.more(&writer, 50).await;
        let ledger = writer.stop().await;
        three.replicas.kill_all();
        (three, ledger)
    });
    let mut args = vec!["serve".to_owned()];
    let own = three.replicas.data_dir(1).display().to_string();
    let others = three.replicas.data_dir(0).display().to_string();
    let flags = three.replicas.serve_flags(1);
    let flags = flags.iter().filter(|flag| *flag != "--exit-with-stdin");
    args.extend(flags.map(|flag| flag.replace(&own, &others)));
    run(&args).with(
        1,
        &[&others, "belongs to replica", "check the replica's name"],
    );
    block_on(async {
        three.reconnect();
        three.begin().await;
        three.prove(&ledger).await;
    });
}

#[test]
fn a_newer_format_is_left_to_the_newer_program() {
    let mut kept = Kept::killed();
    let path = kept.data().join("raft/identity");
    let old = fs::read(&path).expect("it is there");
    let mut newer = old.clone();
    newer[8..12].copy_from_slice(&7_u32.to_le_bytes());
    fs::write(&path, newer).expect("it can be written");
    let ended = kept.refused_with(&[]);
    ended.with(
        1,
        &[
            &path.display().to_string(),
            "format version 7",
            "start the newer program",
        ],
    );
    fs::write(&path, old).expect("it can be written");
    kept.is_intact();
}

#[test]
fn malformed_urls_and_clusters_are_bad_usage() {
    let mut kept = Kept::killed();
    for flag in [
        "--listen-client-urls",
        "--listen-peer-urls",
        "--initial-advertise-peer-urls",
    ] {
        for url in [
            "127.0.0.1:1",
            "http://",
            "http://127.0.0.1",
            "http://a:b",
            "tcp://a:1",
        ] {
            kept.refused_with(&[(flag, url)])
                .with(2, &[flag, url, "is not a URL"]);
        }
    }
    let without = [("--initial-cluster", "other=http://127.0.0.1:1")];
    kept.refused_with(&without).with(
        2,
        &[
            "--initial-cluster has no entry for --name \"default\"",
            "other",
        ],
    );
    kept.is_intact();
}

#[test]
fn a_flipped_byte_in_the_log_is_damage() {
    let mut kept = Kept::killed();
    let path = kept.segment();
    let old = fs::read(&path).expect("it is there");
    let at = place(&old, value(WRITES / 2).as_bytes());
    let mut flipped = old.clone();
    flipped[at] ^= 1;
    fs::write(&path, &flipped).expect("it can be written");
    let ended = kept.refused_with(&[]);
    let file = path.display().to_string();
    ended.with(
        3,
        &[
            &file,
            "is damaged at byte ",
            "restore the directory from a copy",
        ],
    );
    let said = offset(&ended.said);
    assert!(said <= at && at - said < 1_000, "{at}: {}", ended.said);
    assert_eq!(
        fs::read(&path).expect("it is there"),
        flipped,
        "nothing was changed"
    );
    fs::write(&path, old).expect("it can be written");
    kept.is_intact();
}

#[test]
fn a_torn_tail_is_cut() {
    let mut kept = Kept::killed();
    let path = kept.segment();
    let mut torn = fs::read(&path).expect("it is there");
    let end = end_of_log(&torn);
    // The first half of a batch, as a crash amid a write leaves it.
    let begun = b"RLTB and then not all that was to come".repeat(3);
    torn[end..end + begun.len()].copy_from_slice(&begun);
    fs::write(&path, torn).expect("it can be written");
    kept.is_intact();
    let (path, said) = (path.display(), kept.0.said());
    let cut = format!(
        "an unfinished write at byte {end} of {path} was cut off; it was never acknowledged"
    );
    assert!(said.contains(&cut), "no {cut:?} in: {said}");
}

/// Where the last batch ends: their headers tell how long they are (the log's FORMAT.md).
fn end_of_log(segment: &[u8]) -> usize {
    let mut end = 64;
    while segment[end..].starts_with(b"RLTB") {
        let length = segment[end + 24..end + 28].try_into().expect("four bytes");
        end += (40 + u32::from_le_bytes(length) as usize).next_multiple_of(8);
    }
    end
}

#[test]
fn a_missing_segment_is_damage() {
    let mut kept = Kept::killed();
    let (path, aside) = (kept.segment(), kept.data().join("aside"));
    fs::rename(&path, &aside).expect("it can be moved");
    let ended = kept.refused_with(&[]);
    ended.with(3, &[&path.display().to_string(), "is damaged", "missing"]);
    fs::rename(&aside, &path).expect("it can be moved");
    kept.is_intact();
}

#[test]
fn requests_over_the_limit_are_refused() {
    let kept = Kept::running();
    block_on(async {
        for (bytes, text) in [
            (1_572_864, "etcdserver: request is too large"),
            (8 << 20, "received message larger than max"),
        ] {
            let request = little_raft_server::proto::etcdserverpb::PutRequest {
                key: "large".into(),
                value: vec![b'x'; bytes].into(),
                ..Default::default()
            };
            let status = kept
                .0
                .kv()
                .await
                .put(request)
                .await
                .expect_err("it is too large");
            assert!(status.message().contains(text), "{status}");
        }
        let large = kept
            .client()
            .get("large", TIMEOUT)
            .await
            .expect("it answers");
        assert_eq!(large, None);
    });
    kept.answers();
}

#[test]
fn a_log_that_cant_be_flushed_ends_the_replica() {
    a_log_that_fails_ends_the_replica("fdatasync");
}

#[test]
fn a_log_that_cant_be_written_ends_the_replica() {
    a_log_that_fails_ends_the_replica("pwrite64");
}

/// The kernel refuses a write or a flush of the log, as a dying disk does.
fn a_log_that_fails_ends_the_replica(call: &str) {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: there is no strace");
        return;
    }
    let mut kept = Kept::killed();
    // What is open is told by its path; the segment is begun at the restart.
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error=EIO:when=12+"), "-P"])
        .arg(kept.segment())
        .arg(PROGRAM)
        .args(kept.0.args())
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace starts");
    let acknowledged = block_on(async {
        kept.0.channel().await;
        let client = kept.client();
        let mut acknowledged = 0;
        while let Outcome::Acknowledged { .. } = client
            .put(&format!("more/{acknowledged:03}"), "x", TIMEOUT)
            .await
        {
            acknowledged += 1;
            assert!(acknowledged < 1_000, "flushes fail, and it goes on");
        }
        acknowledged
    });
    let output = ended(strace, TIMEOUT);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    Ended { code, said }.with(1, &["the replica stopped", "Input/output error"]);
    kept.is_intact();
    let more = block_on(async { kept.client().get_all("more/", None).await });
    let (_, more) = more.expect("it answers");
    assert!(
        more.len() >= acknowledged,
        "{} of {acknowledged}",
        more.len()
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it is a directory") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}

fn place(bytes: &[u8], of: &[u8]) -> usize {
    let found = bytes.windows(of.len()).position(|part| part == of);
    found.expect("the log holds what was written")
}

fn offset(said: &str) -> usize {
    let (_, rest) = said
        .split_once("is damaged at byte ")
        .expect("it says where");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("it is a number")
}
