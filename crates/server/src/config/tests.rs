use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: ServeArgs,
}

fn config(flags: &[&str]) -> Result<Config, ConfigError> {
    let line = Line::parse_from([&["serve"], flags].concat());
    Config::new(&line.serve)
}

#[test]
fn without_flags_it_is_one_replica_with_etcds_ports() {
    let config = config(&[]).unwrap();
    assert_eq!(config.founders.len(), 1);
    assert_eq!(config.client_addresses[0].port(), 2379);
    assert_eq!(config.data_dir, PathBuf::from("default.little-raft"));
    assert_eq!(config.quota_bytes, 2 << 30);
    assert_eq!(config.id, config.founders[0].id);
}

#[test]
fn ids_are_the_same_for_ever_and_differ_by_token() {
    let one = config(&[]).unwrap();
    assert_eq!(
        one.id,
        ReplicaId(replica_id("http://localhost:2380", "etcd-cluster").0)
    );
    assert_eq!(format!("{:016x}", one.id.0), "ca2a671d4e546bdf");
    assert_ne!(
        one.id,
        config(&["--initial-cluster-token", "other"]).unwrap().id
    );
}

#[test]
fn witnesses_are_named_by_all_founders_and_only_by_them() {
    let founders = [
        "--initial-cluster",
        "default=http://localhost:2380,b=http://h:1,c=http://h:2",
    ];
    let with = |flags: &[&str]| config(&[&founders, flags].concat()).unwrap();
    let config = with(&["--initial-witnesses", "b, c"]);
    let is_witness = |it: &Founder| it.is_witness == (it.name != "default");
    assert!(config.founders.iter().all(is_witness) && !config.is_witness);
    assert!(with(&["--initial-witnesses", "default", "--witness"]).is_witness);
    // Who joins is told who the others are.
    assert!(with(&["--initial-cluster-state", "existing", "--witness"]).is_witness);
}

#[test]
fn bad_settings_say_what_is_wrong() {
    let three = "a=http://h1:2380,b=http://h2:2380";
    let cases: &[(&[&str], &str)] = &[
        (
            &["--initial-cluster", three],
            "no entry for --name \"default\": it names ",
        ),
        (
            &["--name", "a", "--initial-cluster", three],
            "has a=http://h1:2380, but --initial-advertise-peer-urls",
        ),
        (&["--initial-cluster", "a"], "\"a\" is not of the form"),
        (
            &["--initial-cluster", "a=http://h:1,a=http://h:2"],
            "a is named twice",
        ),
        (
            &[
                "--name",
                "c",
                "--initial-cluster",
                "a=http://h:1,b=http://h:1",
            ],
            "http://h:1 is named twice",
        ),
        (
            &["--listen-client-urls", "localhost:2379"],
            "--listen-client-urls: \"localhost:2379\" is not a URL",
        ),
        (
            &["--listen-client-urls", "http://localhost"],
            "is not a URL",
        ),
        (
            &["--listen-client-urls", "http://localhost:99999"],
            "is not a URL",
        ),
        (
            &["--listen-client-urls", "https://localhost:2379"],
            "asks for TLS",
        ),
        (
            &["--listen-peer-urls", "http://h:1,http://h:2"],
            "names several URLs",
        ),
        (&["--election-timeout", "100"], "at least five times"),
        (
            &["--initial-witnesses", "b"],
            "has \"b\", which --initial-cluster doesn't: it names default",
        ),
        (&["--initial-witnesses", "default"], "nobody could lead"),
        (&["--witness"], "doesn't have \"default\": name it there"),
        (
            &[
                "--initial-cluster",
                "default=http://localhost:2380,b=http://h:1",
                "--initial-witnesses",
                "default",
            ],
            "this replica: start it with --witness",
        ),
        (
            &[
                "--data-dir",
                "/nonexistent/x",
                "--initial-cluster-state",
                "existing",
            ],
            "names only this replica",
        ),
    ];
    for (flags, text) in cases {
        let error = config(flags).map(drop).unwrap_err().to_string();
        assert!(error.contains(text), "{flags:?}: {error}");
    }
}
