//! What comes over the network and shouldn't: three replicas under load take no notice, and no election is held.

mod bound;
mod common;
mod kept;
mod three;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bound::block_on;
use bytes::Bytes;
use common::{Folder, free_port};
use kept::PROGRAM;
use little_raft_server::demo::ledger::Ledger;
use little_raft_server::demo::replicas::COUNT;
use little_raft_server::demo::writer::Writer;
use little_raft_server::proto::etcdserverpb::PutRequest;
use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use little_raft_server::proto::mvccpb::KeyValue;
use three::Three;
use tonic::{Code, Status};

const TIMEOUT: Duration = Duration::from_secs(30);
/// So that no election is held because the machine is busy.
const UNHURRIED: [&str; 1] = ["--election-timeout=2000"];

/// A greeting as a newer or older replica might send it, cut off, and what else comes to ports.
fn garbage() -> Vec<Vec<u8>> {
    let noise = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    vec![
        noise.collect(),
        vec![0xff; 64 << 10],
        vec![0; 64 << 10],
        b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"LR".to_vec(),
        Vec::new(),
    ]
}

async fn term(three: &Three) -> u64 {
    let status = three.clients[0].status(TIMEOUT).await;
    status.expect("it answers").raft_term
}

async fn ends_well(three: &mut Three, writer: Writer) {
    three.more(&writer, 50).await;
    let ledger: Ledger = writer.stop().await;
    assert_eq!(ledger.unknown(), 0, "every write was answered");
    three.prove(&ledger).await;
}

#[test]
fn garbage_on_both_ports_changes_nothing() {
    block_on(async {
        let mut three = Three::start(&UNHURRIED).await;
        let writer = three.write_patiently(4);
        three.more(&writer, 20).await;
        let before = term(&three).await;
        let mut open = Vec::new();
        for which in 0..COUNT {
            for address in [
                three.replicas.peer_address(which),
                three.replicas.client_address(which),
            ] {
                for bytes in garbage() {
                    let mut stream = TcpStream::connect(&address).expect("it listens");
                    // It may hang up at any byte.
                    drop(stream.write_all(&bytes));
                    open.push(stream);
                }
            }
        }
        three.more(&writer, 50).await;
        // One that drips: a byte, and more than a handshake's time between them all.
        for stream in &mut open {
            drop(stream.write_all(b"x"));
        }
        three.more(&writer, 50).await;
        assert_eq!(term(&three).await, before, "somebody held an election");
        for which in 0..COUNT {
            for text in ["not a Little Raft greeting", "not completed in time"] {
                three
                    .until(text, async |three| {
                        let said = fs::read_to_string(three.replicas.log(which)).ok()?;
                        said.contains(text).then_some(())
                    })
                    .await;
            }
        }
        drop(open);
        ends_well(&mut three, writer).await;
    });
}

#[test]
fn a_replica_of_another_cluster_is_turned_away_by_name() {
    block_on(async {
        let mut three = Three::start(&UNHURRIED).await;
        let writer = three.write_patiently(4);
        let before = term(&three).await;
        let folder = Folder::new();
        let own = format!("http://127.0.0.1:{}", free_port());
        let client = format!("http://127.0.0.1:{}", free_port());
        let mut founders = vec![format!("stranger={own}")];
        for which in 0..COUNT {
            let address = three.replicas.peer_address(which);
            founders.push(format!("{which}=http://{address}"));
        }
        let mut stranger = Command::new(PROGRAM)
            .args([
                "serve",
                "--name=stranger",
                "--initial-cluster-token=other",
                "--exit-with-stdin",
            ])
            .arg(format!("--data-dir={}", folder.0.join("data").display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--listen-peer-urls={own}"))
            .arg(format!("--initial-advertise-peer-urls={own}"))
            .arg(format!("--initial-cluster={}", founders.join(",")))
            .stdin(Stdio::piped())
            .stderr(fs::File::create(folder.0.join("log")).expect("it can be made"))
            .spawn()
            .expect("the program starts");
        let text = "belongs to cluster ";
        three
            .until("a word about the other cluster", async |three| {
                let said = fs::read_to_string(three.replicas.log(0)).ok()?;
                said.contains(text).then_some(())
            })
            .await;
        three
            .until("the stranger to learn why", async |_| {
                let said = fs::read_to_string(folder.0.join("log")).ok()?;
                said.contains("cluster").then_some(())
            })
            .await;
        three.more(&writer, 50).await;
        assert_eq!(term(&three).await, before, "somebody held an election");
        stranger.kill().expect("it runs");
        stranger.wait().expect("it can be waited for");
        ends_well(&mut three, writer).await;
    });
}

/// 65,536 proposals and 64 MiB may wait for a leader.
#[test]
fn more_waiting_than_the_bound_is_refused_and_the_rest_waits() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let leader = three.all_follow().await;
        let alone = (leader + 1) % COUNT;
        for which in (0..COUNT).filter(|which| *which != alone) {
            three.replicas.kill(which);
        }
        three
            .until("the last one to lose its leader", async |three| {
                let status = three.clients[alone].status(TIMEOUT).await.ok()?;
                (status.leader == 0).then_some(())
            })
            .await;
        let channel = three.channel(alone).await;
        let mut puts = tokio::task::JoinSet::new();
        let value = Bytes::from(vec![b'x'; 1 << 20]);
        for number in 0..80 {
            let (channel, value) = (channel.clone(), value.clone());
            puts.spawn(async move {
                let key = format!("waits/{number:02}");
                let request = PutRequest {
                    key: key.clone().into(),
                    value,
                    ..PutRequest::default()
                };
                (key, KvClient::new(channel).put(request).await)
            });
        }
        let first = puts
            .join_next()
            .await
            .expect("there are some")
            .expect("no panic");
        let refused = first.1.expect_err("nobody leads");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert_eq!(refused.message(), "etcdserver: too many requests");
        for which in (0..COUNT).filter(|which| *which != alone) {
            three.replicas.start(which).expect("the program starts");
        }
        // All end, also if who leads first has them in its log and is replaced.
        let (mut done, mut refused, begun) = (Vec::new(), vec![first.0], Instant::now());
        while let Some(put) = puts.join_next().await {
            let (key, answer) = put.expect("no panic");
            match answer {
                Ok(_) => done.push(key),
                Err(status) if is_definite(&status) => refused.push(key),
                Err(status) => println!("{key}: {status}"),
            }
        }
        println!(
            "{} done, {} refused, in {:?}",
            done.len(),
            refused.len(),
            begun.elapsed()
        );
        assert!(!done.is_empty(), "what waited is done once somebody leads");
        for which in 0..COUNT {
            for key in &done {
                let found = found(&mut three, which, key).await;
                assert!(found.is_some(), "{key} was acknowledged");
            }
            for key in &refused {
                let found = found(&mut three, which, key).await;
                assert!(found.is_none(), "{key} was refused, and is there");
            }
        }
    });
}

/// Whether it says that nothing was done and never will be.
fn is_definite(status: &Status) -> bool {
    let known = ["etcdserver: no leader", "etcdserver: leader changed"];
    status.code() == Code::ResourceExhausted || known.contains(&status.message())
}

async fn found(three: &mut Three, which: usize, key: &str) -> Option<KeyValue> {
    let read = async |three: &Three| three.clients[which].get(key, TIMEOUT).await.ok();
    three.until("a read", read).await
}
