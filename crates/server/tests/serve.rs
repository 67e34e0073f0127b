//! The program as a process: bad input, signals, limits, and what isn't there.

mod bound;
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bound::{block_on, output};
use bytes::Bytes;
use common::{Folder, Server, free_port};
use little_raft_server::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use tonic::Code;

const PROGRAM: &str = env!("CARGO_BIN_EXE_little-raft");
const TIMEOUT: Duration = Duration::from_secs(20);

fn run(args: &[&str]) -> Output {
    output(Command::new(PROGRAM).args(args).stdin(Stdio::null()))
}

fn fails(args: &[&str], code: i32, text: &str) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(text), "{args:?}: {stderr}");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
}

fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a timeout can be set");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// What a server answers for a key, as soon as it leads.
fn value(server: &Server, key: &str) -> Vec<u8> {
    let request = RangeRequest {
        key: Bytes::from(key.to_owned()),
        ..RangeRequest::default()
    };
    let answer = block_on(async { server.kv().await.range(request).await });
    let answer = answer.expect("it answers").into_inner();
    answer.kvs[0].value.to_vec()
}

fn put(key: &str, bytes: usize) -> PutRequest {
    PutRequest {
        key: Bytes::from(key.to_owned()),
        value: vec![b'x'; bytes].into(),
        ..PutRequest::default()
    }
}

impl Server {
    fn address(&self) -> &str {
        self.client_url.trim_start_matches("http://")
    }

    fn data_dir(&self) -> String {
        self.folder.0.join("data").display().to_string()
    }

    fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.expect("kill starts").success());
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it didn't stop");
    }
}

#[test]
fn a_port_in_use_and_a_locked_directory_are_refused() {
    let server = Server::ours();
    block_on(server.kv());
    let folder = Folder::new();
    let fresh = folder.0.join("data").display().to_string();
    let args = [
        "serve",
        "--data-dir",
        &fresh,
        "--listen-client-urls",
        &server.client_url,
    ];
    fails(&args, 1, "Address already in use");
    assert!(!folder.0.join("data").exists(), "nothing is left behind");
    let (client, peer) = (
        format!("http://127.0.0.1:{}", free_port()),
        format!("http://127.0.0.1:{}", free_port()),
    );
    let data = server.data_dir();
    let args = [
        "serve",
        "--data-dir",
        &data,
        "--listen-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
    ];
    let args = [&args[..], &["--initial-advertise-peer-urls", &peer]].concat();
    fails(&args, 1, "in use by another process");
}

#[test]
fn bad_usage_exits_with_2() {
    fails(
        &["serve", "--listen-client-urls", "localhost"],
        2,
        "is not a URL like",
    );
    fails(&["serve", "--data-dri", "x"], 2, "--data-dir");
    fails(
        &["serve", "--name", "a", "--initial-cluster", "b=http://h:1"],
        2,
        "no entry for --name \"a\"",
    );
    fails(&["get"], 2, "<KEY>");
    fails(&["get", "a", "-w", "table"], 1, "no endpoint answers");
}

#[test]
fn an_unwritable_directory_is_named() {
    let folder = Folder::new();
    let file = folder.0.join("file");
    std::fs::write(&file, "in the way").expect("it can be written");
    let (client, inside) = (
        format!("http://127.0.0.1:{}", free_port()),
        file.join("data").display().to_string(),
    );
    fails(
        &[
            "serve",
            "--listen-client-urls",
            &client,
            "--data-dir",
            &inside,
        ],
        1,
        &inside,
    );
}

#[test]
fn the_environment_names_flags_ours_first() {
    let bad = |ours: Option<&str>, etcds: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").env("ETCD_LISTEN_CLIENT_URLS", etcds);
        if let Some(ours) = ours {
            command.env("LITTLE_RAFT_LISTEN_CLIENT_URLS", ours);
        }
        let output = output(&mut command);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(bad(None, "etcds").contains("\"etcds\" is not a URL"));
    assert!(bad(Some("ours"), "etcds").contains("\"ours\" is not a URL"));
}

#[test]
fn a_signal_stops_it_in_order_and_the_data_is_there_again() {
    let mut server = Server::ours();
    block_on(async {
        server
            .kv()
            .await
            .put(put("key", 3))
            .await
            .expect("it is put")
    });
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert_eq!(value(&server, "key"), b"xxx");
}

/// As with a log file on a disk that is full.
#[test]
fn a_log_that_cant_be_written_stops_nothing() {
    let mut server = Server::ours();
    block_on(async { server.channel().await });
    assert_eq!(server.terminate(), Some(0));
    server.child = Command::new(PROGRAM)
        .args(server.args())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(server.child.stderr.take());
    let answer = block_on(async { server.kv().await.put(put("key", 3)).await });
    answer.expect("it is written");
    assert_eq!(value(&server, "key"), b"xxx");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_damaged_store_exits_with_3() {
    let mut server = Server::ours();
    block_on(async {
        server
            .kv()
            .await
            .put(put("key", 3000))
            .await
            .expect("it is put")
    });
    assert_eq!(server.terminate(), Some(0));
    let path = server.folder.0.join("data/store.redb");
    let whole = std::fs::read(&path).expect("the store is there");
    let mut stored = whole.clone();
    let needle = [b'x'; 100];
    let places: Vec<usize> = (0..stored.len() - 100)
        .filter(|at| stored[*at..*at + 100] == needle)
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| stored[*at] ^= 1);
    std::fs::write(&path, stored).expect("it can be written");
    let args = server.args();
    let args: Vec<&str> = args.iter().map(|arg| &arg[..]).collect();
    let damaged = format!("the store {} is damaged", path.display());
    fails(&args, 3, &damaged);
    fails(&args, 3, "restore a backup");
    std::fs::write(&path, whole).expect("it can be written");
    server.restart();
    assert_eq!(value(&server, "key"), vec![b'x'; 3000]);
}

#[test]
fn at_the_quota_writes_are_refused_and_the_rest_goes_on() {
    let server = Server::ours_with(&["--quota-backend-bytes", "100000"]);
    block_on(async {
        let mut kv = server.kv().await;
        let mut refused = None;
        for n in 0..20 {
            if let Err(status) = kv.put(put(&format!("key{n}"), 10_000)).await {
                refused = Some(status);
                break;
            }
        }
        let refused = refused.expect("20 times 10 kB don't fit into 100 kB");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(
            refused.message(),
            "etcdserver: mvcc: database space exceeded"
        );
        let all = |key: &'static [u8]| (Bytes::from_static(key), Bytes::from_static(&[0]));
        let (key, range_end) = all(b"key");
        let range = RangeRequest {
            key,
            range_end,
            count_only: true,
            ..RangeRequest::default()
        };
        assert!(
            kv.range(range)
                .await
                .expect("reads go on")
                .into_inner()
                .count
                > 5
        );
        let (key, range_end) = all(b"key");
        let deleted = kv
            .delete_range(DeleteRangeRequest {
                key,
                range_end,
                prev_kv: false,
            })
            .await;
        let revision = deleted
            .expect("deletes go on")
            .into_inner()
            .header
            .expect("it has one")
            .revision;
        let compact = little_raft_server::proto::etcdserverpb::CompactionRequest {
            revision,
            physical: true,
        };
        kv.compact(compact).await.expect("compactions go on");
        kv.put(put("key", 10_000))
            .await
            .expect("there is room again");
    });
}

#[test]
fn http_pages_and_missing_parts_answer() {
    let server = Server::ours();
    // Healthy is who has a leader, and a write needs one.
    block_on(async { server.kv().await.put(put("key", 1)).await }).expect("it is put");
    let health = http(server.address(), "/health");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with(r#"{"health":"true","reason":""}"#),
        "{health}"
    );
    let version = http(server.address(), "/version");
    assert!(
        version.contains(r#""etcdserver":"3.6.0","etcdcluster":"3.6.0""#),
        "{version}"
    );
    assert!(http(server.address(), "/nothing").starts_with("HTTP/1.1 404"));
    let status = block_on(async {
        let path =
            tonic::codegen::http::uri::PathAndQuery::from_static("/etcdserverpb.Lease/LeaseGrant");
        let mut client = tonic::client::Grpc::new(server.channel().await);
        client.ready().await.expect("it is connected");
        let codec = tonic_prost::ProstCodec::<PutRequest, PutRequest>::default();
        client
            .unary(tonic::Request::new(put("a", 1)), path, codec)
            .await
            .expect_err("it isn't built")
    });
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        status
            .message()
            .starts_with("etcdserverpb.Lease.LeaseGrant is not built yet"),
        "{status}"
    );
}

/// What opens a connection of HTTP/2, with no settings of our own.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn sends(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a timeout can be set");
    stream.write_all(bytes).expect("it is sent");
    stream
}

#[test]
fn garbage_on_the_client_port_is_answered_and_harms_nobody() {
    let mut server = Server::ours();
    block_on(server.kv());
    // A frame of HTTP/2 with sixteen million bytes to come: the answer ends in GOAWAY for its size.
    let oversized = [PREFACE, b"\xff\xff\xff\0\0\0\0\0\x01"].concat();
    let mut stream = sends(&server, &oversized);
    let mut answer = Vec::new();
    // It may end in a reset, since not all was read.
    drop(stream.read_to_end(&mut answer));
    let (goaway, frame_size_error) = (b"\x07\0\0\0\0\0", b"\0\0\0\x06");
    let at = answer.windows(6).position(|bytes| bytes == goaway);
    let said = at.map(|at| &answer[at + 10..at + 14]);
    assert_eq!(said, Some(&frame_size_error[..]), "{answer:?}");
    // No request at all.
    let mut stream = sends(&server, b"\0\xff\x13garbage\r\n\r\n");
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    // Half-sent ones stay open meanwhile, and one drips between the writes of a good client.
    let half_sent = [
        &b"GET /hea"[..],
        &PREFACE[..20],
        &oversized[..PREFACE.len() + 4],
    ];
    let held = half_sent.map(|bytes| sends(&server, bytes));
    let mut dripping = sends(&server, &[]);
    let request = b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    block_on(async {
        let mut kv = server.kv().await;
        for (number, byte) in request.iter().enumerate() {
            dripping.write_all(&[*byte]).expect("it is sent");
            let put = kv.put(put(&format!("key{number}"), 1)).await;
            put.expect("it is put in spite of them");
        }
    });
    let mut answer = String::new();
    dripping.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "slow is fine: {answer}");
    for number in 0..request.len() {
        assert_eq!(value(&server, &format!("key{number}")), b"x");
    }
    drop(held);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_client_fails_over_between_endpoints() {
    let server = Server::ours();
    block_on(server.kv());
    let endpoints = format!("127.0.0.1:{},{}", free_port(), server.address());
    let put = run(&["--endpoints", &endpoints, "put", "key", "value"]);
    assert_eq!(String::from_utf8_lossy(&put.stdout), "OK\n");
    let get = run(&["get", "key", "--endpoints", &endpoints]);
    assert_eq!(String::from_utf8_lossy(&get.stdout), "key\nvalue\n");
}
