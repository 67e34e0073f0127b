//! A cluster that has lost two of three for good goes on from the third, by real processes and the program's own words.

mod bound;
mod common;
mod ctl;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, Server, free_port};
use ctl::{after, ctl, members, revision, soon, text, until};

fn recover(dir: &str, word: &[&str]) -> (Option<i32>, String, String) {
    let ended = ctl(&[&["recover", "--data-dir", dir], word].concat());
    (
        ended.status.code(),
        text(&ended.stdout),
        text(&ended.stderr),
    )
}

const WORD: &[&str] = &["--accept-data-loss"];

/// Every file below `dir` and what is in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            let bytes = fs::read(&path).expect("it can be read");
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn p59_a_cluster_goes_on_from_the_one_that_is_left() {
    let mut three = Server::three();
    let urls: Vec<String> = three.iter().map(|it| it.client_url.clone()).collect();
    let (all, first) = (urls.join(","), urls[0].clone());
    for n in 0..30 {
        soon(&all, &["put", &format!("key{n}"), &format!("value{n}")]);
    }
    assert_eq!(soon(&first, &["get", "key29"]), "key29\nvalue29\n");
    let seen = revision(&first);
    let dir = three[0].flag("--data-dir");
    let peer = three[0].flag("--listen-peer-urls");

    // It runs: whether it could be recovered is not even looked at.
    for word in [&[][..], WORD] {
        let (code, out, error) = recover(&dir, word);
        let said = format!(
            "little-raft: data directory {dir}/raft is in use by another running process; stop that one, or choose another \
             directory\n"
        );
        assert_eq!((code, out, error), (Some(1), String::new(), said));
    }
    three.iter_mut().for_each(Server::kill);

    // Without the word it only tells, and nothing is touched.
    let before = contents(Path::new(&dir));
    let (code, told, error) = recover(&dir, &[]);
    assert_eq!(contents(Path::new(&dir)), before);
    assert_eq!(code, Some(2), "{error}");
    assert_eq!(
        error,
        "little-raft: nothing was changed; --accept-data-loss does it\n"
    );
    let old = after(&told, ", of cluster ").to_owned();
    let id = after(&told, "replica ").split(' ').next().expect("an id");
    let place = after(&told, "ends at ").split(';').next().expect("a place");
    for line in [
        format!("replica {id} in {dir}, of cluster {old}\n"),
        format!("{id} {peer} (this one)\n"),
        "\n  snapshot:   none\n".into(),
        format!(
            "little-raft recover --data-dir {dir} --accept-data-loss makes it the only member of a new cluster:\n\
             - what the others have beyond {place} is lost, also if it was acknowledged\n"
        ),
        "- revisions rise by 1000000000, above all that the others may have shown; those of before count as compacted\n"
            .into(),
        "- the others can't come back: stop them for good, and empty their data directories before you add them anew\n\
         Of several survivors recover only one: that whose log ends in the highest term, and of those at the highest \
         index.\n"
            .into(),
    ] {
        assert!(told.contains(&line), "no {line:?} in: {told}");
    }

    let (code, done, error) = recover(&dir, WORD);
    assert_eq!((code, error), (Some(0), String::new()), "{done}");
    let new = after(&done, " is the only member of cluster ");
    let new = new.split(' ').next().expect("an id").to_owned();
    assert_ne!(new, old);
    for line in [
        format!(
            "recovered: {id} is the only member of cluster {new} now, with all that its log holds\n"
        ),
        format!("  little-raft serve --data-dir {dir} ...\n"),
        "  little-raft member add NAME --peer-urls=http://HOST:PORT\n".into(),
    ] {
        assert!(done.contains(&line), "no {line:?} in: {done}");
    }
    // Given again, it names the same cluster.
    let (code, again, _) = recover(&dir, WORD);
    assert_eq!(code, Some(0));
    assert!(again.contains(&format!("of cluster {new} now")), "{again}");

    // With the flags it had, which name all founders.
    three[0].restart();
    for n in 0..30 {
        let (key, value) = (format!("key{n}"), format!("value{n}"));
        assert_eq!(soon(&first, &["get", &key]), format!("{key}\n{value}\n"));
    }
    // Nobody who remembers a revision is shown it for something else.
    assert!(revision(&first) >= seen + 1_000_000_000);
    for old in [2, seen, seen + 1, seen + 999_999_999] {
        let ended = ctl(&[
            "--endpoints",
            &first,
            "get",
            "key0",
            &format!("--rev={old}"),
        ]);
        let error = text(&ended.stderr);
        assert!(
            error.contains("required revision has been compacted"),
            "{error}"
        );
    }
    soon(&first, &["put", "alone", "yes"]);
    let rows = members(&first);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].starts_with(&format!("{id}, started, m0, {peer}, ")));
    let said = three[0].said();
    assert!(said.contains("which was recovered or restored"), "{said}");

    // Those that are back after all are a majority of what was: each side goes on by itself.
    three[1].restart();
    three[2].restart();
    let others = urls[1..].join(",");
    soon(&others, &["put", "other", "side"]);
    until("they are turned down", || {
        let said = three[0].said();
        said.contains("a connection was turned down")
            && said.contains(&format!(
                "it belongs to cluster {old:0>16}, this replica to {new:0>16}"
            ))
    });
    assert_eq!(soon(&first, &["get", "other"]), "");
    assert_eq!(soon(&others, &["get", "alone"]), "");
    assert_eq!(members(&first), rows);
    three[1].kill();
    three[2].kill();

    // One that is new, and one of before whose directory was emptied.
    let url = format!("http://127.0.0.1:{}", free_port());
    soon(&first, &["member", "add", "four", "--peer-urls", &url]);
    let four = Server::joining("four", &url, &format!("m0={peer}"), &[]);
    let votes = |url: &str| {
        let rows = members(&first);
        let row = rows.iter().find(|row| row.contains(url));
        row.is_some_and(|row| row.contains(", started, ") && row.ends_with(", false"))
    };
    until("it votes", || votes(&url));
    assert_eq!(soon(&four.client_url, &["get", "alone"]), "alone\nyes\n");
    assert_eq!(revision(&four.client_url), revision(&first));

    let second = three[1].flag("--listen-peer-urls");
    fs::remove_dir_all(three[1].flag("--data-dir")).expect("it is there");
    soon(&first, &["member", "add", "m1", "--peer-urls", &second]);
    three[1].set_flag("--initial-cluster-state", "existing");
    three[1].set_flag(
        "--initial-cluster",
        &format!("m0={peer},four={url},m1={second}"),
    );
    three[1].restart();
    until("it votes", || votes(&second));
    assert_eq!(soon(&urls[1], &["get", "alone"]), "alone\nyes\n");

    // Now it can do without the one that it was recovered from.
    three[0].kill();
    soon(&four.client_url, &["put", "without", "it"]);
    three[0].restart();
    assert_eq!(soon(&first, &["get", "without"]), "without\nit\n");
}

#[test]
fn a_directory_that_cant_be_recovered_is_named() {
    let folder = Folder::new();
    let nowhere = folder.0.join("nowhere");
    let (code, out, error) = recover(&nowhere.display().to_string(), WORD);
    let said = format!(
        "little-raft: {}/raft holds no replica; name the data directory of one that has run\n",
        nowhere.display()
    );
    assert_eq!((code, out, error), (Some(1), String::new(), said));
    assert!(!nowhere.exists());
    let ended = ctl(&["recover"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(text(&ended.stderr).contains("--data-dir <DATA_DIR>"));

    // A cluster of one has no majority to lose.
    let mut alone = Server::ours();
    soon(&alone.client_url, &["put", "key", "value"]);
    alone.kill();
    let dir = alone.flag("--data-dir");
    let (code, _, error) = recover(&dir, WORD);
    assert_eq!(code, Some(1));
    assert!(
        error.contains(
            "is the only voter of its group already; there is nothing to recover, start it"
        ),
        "{error}"
    );
    alone.restart();
    assert_eq!(soon(&alone.client_url, &["get", "key"]), "key\nvalue\n");

    // Damage and newer formats, of one of three.
    let mut three = Server::three();
    soon(&three[0].client_url, &["put", "key", "value"]);
    three.iter_mut().for_each(Server::kill);
    let dir = three[0].flag("--data-dir");
    let files = [
        (
            "raft/identity",
            8,
            1,
            "identity has format version 99, and this program knows versions up to 1",
        ),
        ("raft/identity", 20, 3, "identity is damaged at byte 0"),
        ("raft/manifest", 0, 3, "manifest is damaged at byte 0"),
        (
            "raft/0000000000000001.log",
            70,
            3,
            "0000000000000001.log is damaged at byte 64",
        ),
    ];
    for (file, at, code, said) in files {
        let path = Path::new(&dir).join(file);
        let sound = fs::read(&path).expect("it is there");
        let mut other = sound.clone();
        other[at] = 99;
        fs::write(&path, &other).expect("it is written");
        let before = contents(Path::new(&dir));
        for word in [&[][..], WORD] {
            let (ended, _, error) = recover(&dir, word);
            assert!(error.contains(said), "{file}: {error}");
            assert_eq!(ended, Some(code), "{file}: {error}");
        }
        assert_eq!(contents(Path::new(&dir)), before, "{file}");
        fs::write(&path, sound).expect("it is written");
    }
    // Its store is looked at before anything is changed.
    let store = Path::new(&dir).join("store.redb");
    let sound = fs::read(&store).expect("it is there");
    fs::write(&store, "no database at all").expect("it is written");
    let (code, _, error) = recover(&dir, WORD);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("store.redb is damaged"), "{error}");
    fs::write(&store, sound).expect("it is written");
    let (code, told, _) = recover(&dir, WORD);
    assert_eq!(code, Some(0), "{told}");
}
