//! Members that are added, removed, promoted and moved while a cluster runs, through our own commands.

mod bound;
mod common;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bound::output;
use common::{Server, free_port};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

fn endpoints(servers: &[&Server]) -> String {
    let urls: Vec<&str> = servers.iter().map(|it| &it.client_url[..]).collect();
    urls.join(",")
}

fn ctl(endpoints: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_little-raft"));
    output(command.args(["--endpoints", endpoints]).args(args))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command prints that must succeed.
fn done(endpoints: &str, args: &[&str]) -> String {
    let output = ctl(endpoints, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Repeats it until it succeeds: a cluster that has just begun may have no leader.
fn soon(endpoints: &str, args: &[&str]) -> String {
    let mut said = None;
    until(&format!("{args:?}"), || {
        let output = ctl(endpoints, args);
        said = output.status.success().then(|| text(&output.stdout));
        said.is_some()
    });
    said.expect("waited for")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Columns of `member list`: id, status, name, peer URL, client URL, is learner.
fn members(endpoints: &str) -> Vec<Vec<String>> {
    let list = soon(endpoints, &["member", "list"]);
    let columns = |line: &str| line.split(", ").map(Into::into).collect();
    list.lines().map(columns).collect()
}

fn row(endpoints: &str, peer_url: &str) -> Option<Vec<String>> {
    let rows = members(endpoints);
    rows.into_iter().find(|row| row[3] == peer_url)
}

fn is_voter(endpoints: &str, peer_url: &str) -> bool {
    row(endpoints, peer_url).is_some_and(|row| row[1] == "started" && row[5] == "false")
}

fn leader(endpoints: &str) -> Option<String> {
    let status = ctl(endpoints, &["status", "-w", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).ok()?;
    let leader = status[0]["Status"]["leader"].as_u64()?;
    Some(format!("{leader:x}"))
}

fn ended(server: &mut Server) -> Option<i32> {
    let mut status = None;
    until("the server ends", || {
        status = server.child.try_wait().expect("it can be waited for");
        status.is_some()
    });
    status.expect("waited for").code()
}

#[test]
fn a_member_is_added_catches_up_and_is_removed() {
    let three = Server::three();
    let all = endpoints(&three.iter().collect::<Vec<_>>());
    for n in 0..20 {
        soon(&all, &["put", &format!("key{n}"), "x"]);
    }
    until("all are known", || {
        members(&all).iter().all(|row| row[4].starts_with("http"))
    });

    let peer = format!("http://127.0.0.1:{}", free_port());
    let added = done(&all, &["member", "add", "four", "--peer-urls", &peer]);
    let cluster = three[0].flag("--initial-cluster");
    assert!(added.contains(" added to cluster "), "{added}");
    assert!(added.contains("ETCD_NAME=\"four\""), "{added}");
    assert!(added.contains(&format!("four={peer}")), "{added}");
    assert!(
        added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""),
        "{added}"
    );
    let unstarted = row(&all, &peer).expect("it is listed");
    assert_eq!(unstarted[1..3], ["unstarted", ""]);
    // As an earlier member: its name was known, and it is forgotten. It is started with what was printed.
    let mut four = Server::joining("four", &peer, &cluster, &[]);
    until("it votes", || is_voter(&all, &peer));
    assert_eq!(done(&four.client_url, &["get", "key7"]), "key7\nx\n");
    let listed = row(&four.client_url, &peer).expect("it is listed");
    assert_eq!(listed[1..5], ["started", "four", &peer, &four.client_url]);
    assert_eq!(members(&four.client_url), members(&all), "all say the same");

    // Restarted with the same flags it is who it was.
    four.kill();
    four.restart();
    until("it is back", || {
        ctl(&four.client_url, &["get", "key7"]).status.success()
    });

    let removed = done(&all, &["member", "remove", &listed[0]]);
    assert!(
        removed.contains(&format!("Member {:>16} removed from cluster", listed[0])),
        "{removed}"
    );
    assert_eq!(ended(&mut four), Some(0), "{}", four.said());
    assert!(
        four.said()
            .contains("was removed from its cluster for good"),
        "{}",
        four.said()
    );
    assert!(row(&all, &peer).is_none());
    four.restart();
    assert_eq!(ended(&mut four), Some(0), "{}", four.said());

    // Under its old address and so its old id, with an empty directory.
    drop(four);
    done(&all, &["member", "add", "again", "--peer-urls", &peer]);
    assert_eq!(row(&all, &peer).expect("it is listed")[1], "unstarted");
    let again = Server::joining("again", &peer, &cluster, &[]);
    until("it votes", || is_voter(&all, &peer));
    assert_eq!(done(&again.client_url, &["get", "key7"]), "key7\nx\n");
}

/// What it would have to know about the leader only the leader can tell it.
#[test]
fn a_member_that_was_away_follows_a_leader_that_was_added_meanwhile() {
    let mut three = Server::three();
    let all = endpoints(&three[..2].iter().collect::<Vec<_>>());
    soon(&all, &["put", "key", "x"]);
    until("all are known", || {
        members(&all).iter().all(|row| row[4].starts_with("http"))
    });
    three[2].kill();
    let peer = format!("http://127.0.0.1:{}", free_port());
    done(&all, &["member", "add", "four", "--peer-urls", &peer]);
    let cluster = three[0].flag("--initial-cluster");
    let four = Server::joining("four", &peer, &cluster, &[]);
    until("it votes", || is_voter(&all, &peer));
    let id = row(&all, &peer).expect("it is listed").swap_remove(0);
    until("it leads", || {
        ctl(&all, &["move-leader", &id]);
        leader(&all).as_ref() == Some(&id)
    });
    done(&four.client_url, &["put", "key", "y"]);
    three[2].restart();
    assert_eq!(soon(&three[2].client_url, &["get", "key"]), "key\ny\n");
    assert_eq!(leader(&all).as_ref(), Some(&id));
}

#[test]
fn a_founder_that_lost_its_disk_is_replaced_under_its_address() {
    let mut three = Server::three();
    let all = endpoints(&three.iter().collect::<Vec<_>>());
    soon(&all, &["put", "key", "x"]);
    let peer = three[2].flag("--listen-peer-urls");
    let id = row(&all, &peer).expect("it is listed").swap_remove(0);
    three[2].kill();
    std::fs::remove_dir_all(three[2].flag("--data-dir")).expect("it is there");
    done(&all, &["--command-timeout=20s", "member", "remove", &id]);
    done(
        &all,
        &[
            "--command-timeout=20s",
            "member",
            "add",
            "m2",
            "--peer-urls",
            &peer,
        ],
    );
    three[2].set_flag("--initial-cluster-state", "existing");
    three[2].restart();
    until("it votes", || is_voter(&all, &peer));
    assert_eq!(soon(&three[2].client_url, &["get", "key"]), "key\nx\n");
}

#[test]
fn a_learner_is_promoted_leadership_moves_and_a_member_moves() {
    let three = Server::three();
    let all = endpoints(&three.iter().collect::<Vec<_>>());
    soon(&all, &["put", "key", "x"]);
    let peer = format!("http://127.0.0.1:{}", free_port());
    let added = done(
        &all,
        &["member", "add", "four", "--learner", "--peer-urls", &peer],
    );
    assert!(added.contains(" added as learner to cluster "), "{added}");
    let id = row(&all, &peer).expect("it is listed").swap_remove(0);
    let refused = ctl(&all, &["member", "promote", &id]);
    let said = text(&refused.stderr);
    assert!(
        said.contains("etcdserver: can only promote a learner member which is in sync with leader"),
        "{said}"
    );
    assert_eq!(refused.status.code(), Some(1));

    let cluster = three[0].flag("--initial-cluster");
    let mut four = Server::joining("four", &peer, &cluster, &[]);
    let promoted = soon(&all, &["member", "promote", &id]);
    assert!(
        promoted.contains(&format!("Member {id:>16} promoted in cluster")),
        "{promoted}"
    );
    until("it is started, and votes", || is_voter(&all, &peer));

    let all = endpoints(&[&three[0], &three[1], &three[2], &four]);
    let from = leader(&all).expect("somebody leads");
    let moved = soon(&all, &["move-leader", &id]);
    assert_eq!(
        moved,
        format!("Leadership transferred from {from} to {id}\n")
    );
    assert_eq!(leader(&four.client_url), Some(id.clone()));
    // The leader is the fourth now, and is not asked.
    let others = endpoints(&three.iter().collect::<Vec<_>>());
    let refused = ctl(&others, &["move-leader", &from]);
    assert!(text(&refused.stderr).contains("no leader endpoint given at --endpoints"));

    let new_peer = format!("http://127.0.0.1:{}", free_port());
    let updated = done(&all, &["member", "update", &id, "--peer-urls", &new_peer]);
    assert!(
        updated.contains(&format!("Member {id:>16} updated in cluster")),
        "{updated}"
    );
    four.kill();
    four.set_flag("--listen-peer-urls", &new_peer);
    four.set_flag("--initial-advertise-peer-urls", &new_peer);
    four.set_flag("--initial-cluster", &format!("{cluster},four={new_peer}"));
    four.restart();
    until("it is back", || {
        ctl(&four.client_url, &["get", "key"]).status.success()
    });
    assert_eq!(row(&all, &new_peer).expect("it is listed")[0], id);
}

#[test]
fn timing_is_changed_for_all_and_for_those_that_join() {
    let three = Server::three();
    let all = endpoints(&three.iter().collect::<Vec<_>>());
    let first = soon(&all, &["timing", "get"]);
    assert!(
        first.starts_with("heartbeat 50ms, election 400ms (this replica's flags"),
        "{first}"
    );
    let set = done(
        &all,
        &[
            "timing",
            "set",
            "--heartbeat",
            "60ms",
            "--election",
            "900ms",
        ],
    );
    assert_eq!(set, "heartbeat 60ms, election 900ms (all replicas)\n");
    let one = done(&all, &["timing", "set", "--election=1s"]);
    assert_eq!(one, "heartbeat 60ms, election 1s (all replicas)\n");
    for server in &three {
        let there = soon(&server.client_url, &["timing", "get"]);
        assert_eq!(there, "heartbeat 60ms, election 1s (all replicas)\n");
    }
}

/// Nothing is changed by any of them.
#[test]
fn wrong_arguments_are_named() {
    let server = Server::ours();
    let all = endpoints(&[&server]);
    soon(&all, &["put", "key", "x"]);
    until("it is known", || members(&all)[0][4].starts_with("http"));
    let (own, peer) = (
        members(&all)[0][0].clone(),
        server.flag("--listen-peer-urls"),
    );
    let before = (members(&all), soon(&all, &["timing", "get"]));
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["member", "remove", "77"],
            1,
            "etcdserver: member not found",
        ),
        (
            &["member", "promote", "77"],
            1,
            "etcdserver: member not found",
        ),
        (
            &["member", "update", "77", "--peer-urls=http://h:1"],
            1,
            "etcdserver: member not found",
        ),
        (
            &["member", "promote", &own],
            1,
            "etcdserver: can only promote a learner member",
        ),
        (
            &["member", "remove", &own],
            1,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        (
            &["member", "add", "x", "--peer-urls", &peer],
            1,
            "etcdserver: Peer URLs already exists",
        ),
        (
            &["member", "add", "x", "--peer-urls=nonsense"],
            1,
            "etcdserver: given member URLs are invalid",
        ),
        (
            &["member", "add", "x", "--peer-urls=https://h:1"],
            1,
            "etcdserver: given member URLs are invalid",
        ),
        (
            &["member", "add", "x", "--peer-urls=http://h:1,http://h:2"],
            1,
            "etcdserver: given member URLs are invalid",
        ),
        (&["member", "add", "x"], 2, "--peer-urls"),
        (
            &["member", "remove", "node1"],
            2,
            "bad member ID arg \"node1\" (invalid digit found in string), expecting ID in Hex",
        ),
        (&["member", "remove"], 2, "<ID>"),
        (
            &["move-leader", "77"],
            1,
            "etcdserver: bad leader transferee",
        ),
        (&["move-leader", "x"], 2, "bad member ID arg \"x\""),
        (&["timing", "set"], 2, "--heartbeat"),
        (
            &["timing", "set", "--heartbeat=fast"],
            2,
            "write it like 500ms, 5s or 1m",
        ),
        (
            &["timing", "set", "--heartbeat=0"],
            2,
            "it must be above zero",
        ),
        (
            &["timing", "set", "--heartbeat=100ms"],
            1,
            "the election timeout 400ms must be at least five times the heartbeat 100ms, else a lost heartbeat is an election; nothing was changed",
        ),
        (
            &["timing", "set", "--election=1000m"],
            1,
            "it may be 600s at most; nothing was changed",
        ),
    ];
    for (args, code, said) in cases {
        let refused = ctl(&all, args);
        let stderr = text(&refused.stderr);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
        assert_eq!(refused.status.code(), Some(*code), "{args:?}: {stderr}");
        assert_eq!(
            (members(&all), soon(&all, &["timing", "get"])),
            before,
            "{args:?}"
        );
    }
}

/// A majority must be left: who is needed can't be removed, and who is dead can.
#[test]
fn a_removal_that_would_cost_the_majority_is_refused() {
    let mut three = Server::three();
    let all = endpoints(&[&three[0], &three[1]]);
    soon(&all, &["put", "key", "x"]);
    until("all are known", || {
        members(&all).iter().all(|row| row[4].starts_with("http"))
    });
    let id = |server: &Server| {
        row(&all, &server.flag("--listen-peer-urls"))
            .expect("listed")
            .swap_remove(0)
    };
    let (needed, dead) = (id(&three[1]), id(&three[2]));
    three[2].kill();
    soon(&all, &["get", "key"]);
    let refused = ctl(&all, &["member", "remove", &needed]);
    assert!(
        text(&refused.stderr).contains("etcdserver: unhealthy cluster"),
        "{}",
        text(&refused.stderr)
    );
    soon(&all, &["member", "remove", &dead]);
    assert_eq!(members(&all).len(), 2);
}

#[test]
fn who_joins_says_what_it_waits_for() {
    let server = Server::ours();
    soon(&server.client_url, &["put", "key", "x"]);
    let peer = format!("http://127.0.0.1:{}", free_port());
    let cluster = server.flag("--initial-cluster");
    let joiner = Server::joining("two", &peer, &cluster, &[]);
    until("it says so", || {
        joiner
            .said()
            .contains("no member of the cluster yet, and waits: add it with")
    });
    done(
        &server.client_url,
        &["member", "add", "two", "--peer-urls", &peer],
    );
    until("it votes", || is_voter(&server.client_url, &peer));
    assert_eq!(soon(&joiner.client_url, &["get", "key"]), "key\nx\n");

    // Nobody is there to be joined.
    let nobody = format!("nobody=http://127.0.0.1:{}", free_port());
    let mut lost = Server::joining(
        "lost",
        &format!("http://127.0.0.1:{}", free_port()),
        &nobody,
        &[],
    );
    assert_eq!(ended(&mut lost), Some(1));
    let said = lost.said();
    assert!(
        said.contains("no member of the group to join has answered"),
        "{said}"
    );
}
