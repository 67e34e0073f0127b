//! A copy of the store is saved while three serve, and a new cluster begins with it, by real processes.

mod bound;
mod common;
mod ctl;

use std::fs;
use std::path::Path;

use common::{Folder, Server, free_port};
use ctl::{after, ctl, members, revision, soon, text, until};

const BUMP: i64 = 1_000_000_000;

fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let ended = ctl(args);
    let (out, error) = (text(&ended.stdout), text(&ended.stderr));
    (ended.status.code(), out, error)
}

/// The flags that make a server who it is, and where its data is.
fn identity(server: &Server) -> Vec<String> {
    let flags = [
        "--name",
        "--initial-cluster",
        "--initial-advertise-peer-urls",
        "--data-dir",
    ];
    let both = flags.map(|flag| [flag.to_owned(), server.flag(flag)]);
    both.concat()
}

fn restore(file: &str, server: &Server) -> (Option<i32>, String, String) {
    let flags = identity(server);
    let flags = flags.iter().map(String::as_str);
    let args: Vec<&str> = ["snapshot", "restore", file]
        .into_iter()
        .chain(flags)
        .collect();
    said(&args)
}

/// Of what a restore said: the new cluster's id, with its leading zeros, as logs have it.
fn cluster(restored: &str) -> String {
    let id = after(restored, " of cluster ").split(',').next();
    format!("{:0>16}", id.expect("an id"))
}

fn remove_data(server: &Server) {
    fs::remove_dir_all(server.flag("--data-dir")).expect("it is there");
}

fn gets(endpoint: &str, key: &str, revision: i64) -> (Option<i32>, String, String) {
    let revision = format!("--rev={revision}");
    said(&["--endpoints", endpoint, "get", key, &revision])
}

#[test]
fn p59_a_new_cluster_begins_with_a_saved_copy_and_the_old_one_is_refused() {
    let mut three = Server::three();
    let urls: Vec<String> = three.iter().map(|it| it.client_url.clone()).collect();
    let all = urls.join(",");
    for n in 0..30 {
        soon(&all, &["put", &format!("key{n}"), &format!("value{n}")]);
    }
    soon(&urls[0], &["get", "key29"]);
    let saved_at = revision(&urls[0]);
    let folder = Folder::new();
    let file = folder.0.join("copy").display().to_string();
    let saved = soon(&urls[0], &["snapshot", "save", &file]);
    assert_eq!(saved, format!("Snapshot saved at {file}\n"));
    let (_, status, _) = said(&["snapshot", "status", &file, "--write-out=json"]);
    assert_eq!(
        after(&status, "\"revision\":").split(',').next(),
        Some(&*saved_at.to_string())
    );
    assert_eq!(
        after(&status, "\"totalKey\":").split(',').next(),
        Some("30")
    );

    // Acknowledged, and not in it.
    for n in 0..10 {
        soon(&all, &["put", "key0", &format!("later{n}")]);
    }
    let seen = revision(&urls[0]);
    assert_eq!(seen, saved_at + 10);

    // One is restored where an old one was, and meets two of the old, who are still a majority.
    let dir = three[0].flag("--data-dir");
    let (code, _, error) = restore(&file, &three[0]);
    assert_eq!(code, Some(1));
    let exists = format!("{dir} exists already; name a data directory that is to be made\n");
    assert_eq!(error, format!("little-raft: {exists}"));
    three[0].kill();
    remove_data(&three[0]);
    let (code, restored, error) = restore(&file, &three[0]);
    assert_eq!((code, error), (Some(0), String::new()));
    let new = cluster(&restored);
    three[0].restart();
    until("it is turned down", || {
        three[1]
            .said()
            .contains(&format!("it belongs to cluster {new}, this replica to"))
            || three[0]
                .said()
                .contains(&format!(", this replica to {new}"))
    });
    let others = urls[1..].join(",");
    soon(&others, &["put", "key0", "of the old"]);
    let (code, _, _) = said(&[
        "--endpoints",
        &urls[0],
        "--command-timeout=1s",
        "get",
        "key0",
    ]);
    assert_eq!(code, Some(1), "nobody follows it, and it follows nobody");

    // The others follow on their machines, from the same file.
    let kept = Folder::new();
    for server in &mut three[1..] {
        server.kill();
    }
    fs::rename(three[2].flag("--data-dir"), kept.0.join("data")).expect("it is moved");
    remove_data(&three[1]);
    for server in &mut three[1..] {
        let (code, again, error) = restore(&file, server);
        assert_eq!((code, error), (Some(0), String::new()));
        assert_eq!(cluster(&again), new);
        server.restart();
    }
    for n in 0..30 {
        let (key, value) = (format!("key{n}"), format!("value{n}"));
        assert_eq!(soon(&all, &["get", &key]), format!("{key}\n{value}\n"));
    }
    // No revision of the old cluster is ever shown for something else, whoever remembers it.
    assert_eq!(revision(&urls[1]), saved_at + BUMP);
    assert!(revision(&urls[1]) > seen);
    for old in [2, saved_at, seen, seen + 1] {
        let (code, _, error) = gets(&urls[2], "key0", old);
        assert_eq!(code, Some(1));
        assert!(
            error.contains("required revision has been compacted"),
            "{error}"
        );
    }
    soon(&all, &["put", "key0", "of the new"]);
    assert_eq!(revision(&urls[0]), saved_at + BUMP + 1);

    // A newcomer gets what the log doesn't hold, and the revisions with it.
    let url = format!("http://127.0.0.1:{}", free_port());
    soon(&all, &["member", "add", "four", "--peer-urls", &url]);
    let four = Server::joining("four", &url, &three[0].flag("--initial-cluster"), &[]);
    until("it votes", || {
        let rows = members(&urls[0]);
        let row = rows.iter().find(|row| row.contains(&url));
        row.is_some_and(|row| row.contains(", started, ") && row.ends_with(", false"))
    });
    assert_eq!(
        soon(&four.client_url, &["get", "key29"]),
        "key29\nvalue29\n"
    );
    assert_eq!(revision(&four.client_url), saved_at + BUMP + 1);

    // One of the old comes back as it was: nobody knows it, and the new ones go on.
    three[2].kill();
    remove_data(&three[2]);
    fs::rename(kept.0.join("data"), three[2].flag("--data-dir")).expect("it is moved back");
    let before = three[2].said().len();
    three[2].restart();
    until("it is turned down", || {
        three[2].said()[before..].contains(&format!("it belongs to cluster {new}, this replica to"))
            || three[1]
                .said()
                .contains(&format!(", this replica to {new}"))
    });
    let (code, _, _) = said(&[
        "--endpoints",
        &urls[2],
        "--command-timeout=1s",
        "get",
        "key0",
    ]);
    assert_eq!(code, Some(1));
    soon(&urls[0], &["put", "without", "it"]);
    assert_eq!(soon(&urls[1], &["get", "without"]), "without\nit\n");
}

/// Whatever a crash has left of an earlier attempt is no data directory, and the next attempt makes one.
#[test]
fn p59_a_restore_that_was_cut_short_leaves_nothing_that_starts() {
    let mut one = Server::ours_with(&["--name", "default"]);
    soon(&one.client_url, &["put", "key", "value"]);
    let folder = Folder::new();
    let file = folder.0.join("copy").display().to_string();
    soon(&one.client_url, &["snapshot", "save", &file]);
    one.kill();
    let dir = one.flag("--data-dir");
    let half = format!("{dir}.restoring");
    fs::rename(&dir, &half).expect("it is moved");
    let (code, _, error) = restore(&file, &one);
    assert_eq!((code, error), (Some(0), String::new()));
    assert!(!Path::new(&half).exists());
    one.restart();
    assert_eq!(soon(&one.client_url, &["get", "key"]), "key\nvalue\n");
    assert!(revision(&one.client_url) > BUMP);
}

#[test]
fn a_copy_that_is_not_whole_is_refused() {
    let one = Server::ours_with(&["--name", "default"]);
    for n in 0..20 {
        soon(&one.client_url, &["put", &format!("key{n}"), "value"]);
    }
    let folder = Folder::new();
    let file = folder.0.join("copy").display().to_string();
    soon(&one.client_url, &["snapshot", "save", &file]);
    let sound = fs::read(&file).expect("it is there");
    assert_eq!(sound.len() % 512, 32);
    let data_dir = folder.0.join("new").display().to_string();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).expect("it is written");
        let restore = ["snapshot", "restore", &file, "--data-dir", &data_dir];
        for args in [&["snapshot", "status", &file][..], &restore] {
            let (code, out, error) = said(args);
            assert_eq!((code, out), (Some(3), String::new()), "{error}");
            assert!(error.contains(what), "{error}");
        }
        assert!(!Path::new(&data_dir).exists());
    };
    refused(b"", "it is no backup, or not all of one");
    refused(
        &sound[..sound.len() - 1],
        "it is no backup, or not all of one",
    );
    refused(&sound[..544], "its SHA-256 is wrong");
    for at in (0..sound.len()).step_by(97) {
        let mut other = sound.clone();
        other[at] ^= 4;
        refused(&other, "its SHA-256 is wrong");
    }
    let nowhere = folder.0.join("nowhere").display().to_string();
    let (code, _, error) = said(&["snapshot", "status", &nowhere]);
    assert_eq!(code, Some(1), "{error}");
    let (code, _, _) = said(&[
        "snapshot",
        "restore",
        &file,
        "--name",
        "x",
        "--initial-cluster",
        "y",
    ]);
    assert_eq!(code, Some(2));
    // A server that is not there leaves no file.
    let (code, _, _) = said(&["--endpoints", "127.0.0.1:1", "snapshot", "save", &nowhere]);
    assert_eq!(code, Some(1));
    assert!(!Path::new(&nowhere).exists() && !Path::new(&format!("{nowhere}.part")).exists());
}
