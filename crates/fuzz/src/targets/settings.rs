//! What people and scripts give the program: flags, URLs, transactions as text.

use arbtest::arbitrary::{Result, Unstructured};
use clap::Parser;
use little_raft_server::client::parse_txn;
use little_raft_server::config::{Config, ServeArgs};

use crate::memory::within;
use crate::mutate::mutate;
use crate::values::some;

const BYTES_A_BYTE: usize = 512;
const SLACK_BYTES: usize = 1 << 20;
/// Those that name hosts to listen on are left out: they would be looked up.
const FLAGS: &[(&str, &str)] = &[
    ("--name", "a"),
    ("--data-dir", "/nowhere"),
    ("--advertise-client-urls", "http://h:1,http://größe:2"),
    ("--initial-advertise-peer-urls", "http://h1:2380"),
    ("--initial-cluster", "a=http://h1:2380,b=http://h2:2380/"),
    ("--initial-cluster-state", "existing"),
    ("--initial-cluster-token", "token"),
    ("--heartbeat-interval", "50"),
    ("--election-timeout", "400"),
    ("--snapshot-count", "10000"),
    ("--quota-backend-bytes", "0"),
    ("--max-request-bytes", "1572864"),
    ("--log-level", "info"),
];
const TXN: &str = "mod(\"key\") > \"0\"\nvalue('other') = \"x\\n\"\n\nput key \"new value\"\nget a b \
                   --limit=3\n\ndel --prefix key\n";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: ServeArgs,
}

pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let chosen = some(u, |u| u.choose_index(FLAGS.len()))?;
    let mut line = vec![
        "serve".to_owned(),
        "--initial-advertise-peer-urls=http://h1:2380".into(),
    ];
    for which in chosen {
        let (flag, value) = FLAGS[which];
        line.push(format!("{flag}={}", damaged(u, value)?));
    }
    let bound = BYTES_A_BYTE * line.concat().len() + SLACK_BYTES;
    within(bound, || {
        if let Ok(line) = Line::try_parse_from(&line) {
            drop(Config::new(&line.serve));
        }
    });
    let text = damaged(u, TXN)?;
    let bound = BYTES_A_BYTE * text.len() + SLACK_BYTES;
    within(bound, || drop(parse_txn(&text)));
    Ok(())
}

fn damaged(u: &mut Unstructured<'_>, text: &str) -> Result<String> {
    let mut bytes = text.as_bytes().to_vec();
    mutate(u, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
