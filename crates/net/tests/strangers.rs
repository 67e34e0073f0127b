//! Connections that mean harm, or another replica.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use common::*;
use little_raft_core::{Codec, ReplicaId};
use little_raft_net::{Hello, Options};

fn strict() -> Options {
    Options {
        handshake_timeout: Duration::from_millis(300),
        frame_timeout: Duration::from_millis(300),
        max_frame_bytes: 1 << 20,
        ..Options::default()
    }
}

/// A greeting as FORMAT.md draws it.
fn greeting(version: u16, cluster: u64, from: u64, to: u64) -> BytesMut {
    let mut out = BytesMut::from(&b"LRhi"[..]);
    out.put_u16_le(version);
    out.put_u16_le(45);
    for number in [cluster, from, 100, 1, to] {
        out.put_u64_le(number);
    }
    out.put_u8(0);
    let checksum = crc32c::crc32c(&out);
    out.put_u32_le(checksum);
    out
}

/// A frame as FORMAT.md draws it.
fn frame(payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32_le(payload.len() as u32);
    out.put_slice(&[1, 0, 0, 0]);
    out.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(&out), payload));
    out.put_slice(payload);
    out
}

fn greeted(to: &End) -> TcpStream {
    let mut stream = TcpStream::connect(&to.address).unwrap();
    stream.write_all(&greeting(1, CLUSTER, 1, 2)).unwrap();
    let mut answer = [0; 45];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((&answer[..4], answer[8]), (&b"LRan"[..], 0));
    stream
}

fn ends(mut stream: TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// Replica 2, that knows 1 and 3, and 3 as a good peer of it.
fn host() -> (End, End) {
    let (two, three) = (listen_with(strict()), listen());
    let (second, third) = (address(&two), address(&three));
    let two = start(two, hello(2), peers([(1, "127.0.0.1:1"), (3, &third)]));
    let three = start(three, hello(3), peers([(2, &second)]));
    (two, three)
}

fn still_works((two, three): &(End, End)) {
    three.tcp.send(ReplicaId(2), read(3, 2, 99));
    two.ear.wait("a good message", |heard| {
        heard.messages.contains(&read(3, 2, 99)).then_some(())
    });
    assert_eq!(two.ear.with(|heard| heard.messages.len()), 1);
}

#[test]
fn the_documented_bytes_are_understood() {
    let (two, _three) = host();
    let mut stream = greeted(&two);
    let message = read(1, 2, 5);
    stream.write_all(&frame(&message.to_bytes())).unwrap();
    assert_eq!(two.ear.wait_messages(1), [message]);
}

#[test]
fn garbage_instead_of_a_greeting_ends_the_connection() {
    let host = host();
    let mut stream = TcpStream::connect(&host.0.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    ends(stream);
    host.0.ear.wait_refusal("not a Little Raft greeting");
    still_works(&host);
}

#[test]
fn a_greeting_of_impossible_length_and_one_with_a_flipped_byte_are_refused() {
    let mut long = greeting(1, CLUSTER, 1, 2);
    long[6..8].copy_from_slice(&60_000_u16.to_le_bytes());
    let mut flipped = greeting(1, CLUSTER, 1, 2);
    flipped[30] ^= 1;
    for (bytes, text) in [
        (long, "not a Little Raft greeting"),
        (flipped, "checksum mismatch in the handshake"),
    ] {
        let host = host();
        let mut stream = TcpStream::connect(&host.0.address).unwrap();
        stream.write_all(&bytes).unwrap();
        ends(stream);
        host.0.ear.wait_refusal(text);
        still_works(&host);
    }
}

#[test]
fn faulty_frames_end_their_connection_only() {
    let message = read(1, 2, 5).to_bytes();
    let mut flipped = frame(&message);
    *flipped.last_mut().unwrap() ^= 1;
    let mut long = frame(&message);
    long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut version = frame(&message);
    version[4] = 9;
    let astray = frame(&read(3, 2, 5).to_bytes());
    let foreign = frame(
        &little_raft_core::Message {
            cluster: 8,
            ..read(1, 2, 5)
        }
        .to_bytes(),
    );
    for (bytes, text) in [
        (flipped, "checksum mismatch"),
        (long, "above the limit"),
        (version, "unknown frame version"),
        (frame(b"rubbish"), "damaged message"),
        (astray, "over a connection of others"),
        (foreign, "over a connection of others"),
    ] {
        let host = host();
        let mut stream = greeted(&host.0);
        stream.write_all(&bytes).unwrap();
        ends(stream);
        host.0.ear.wait_refusal(text);
        assert_eq!(host.0.tcp.counts().faults, 1);
        still_works(&host);
    }
}

#[test]
fn a_half_sent_greeting_and_a_half_sent_frame_time_out() {
    let host = host();
    let mut stream = TcpStream::connect(&host.0.address).unwrap();
    stream.write_all(&greeting(1, CLUSTER, 1, 2)[..20]).unwrap();
    ends(stream);
    host.0.ear.wait_refusal("not completed in time");
    let mut stream = greeted(&host.0);
    stream.write_all(&frame(&[0; 900_000])[..30]).unwrap();
    ends(stream);
    host.0.ear.wait_refusal("did not arrive in time");
    still_works(&host);
}

#[test]
fn dripping_bytes_time_out() {
    let host = host();
    for (mut stream, bytes) in [
        (
            TcpStream::connect(&host.0.address).unwrap(),
            greeting(1, CLUSTER, 1, 2),
        ),
        (greeted(&host.0), frame(&[0; 500])),
        (greeted(&host.0), frame(&[0; 500_000])),
    ] {
        // For ten seconds at most; the write fails once the other side has closed.
        let all = bytes.chunks(1).take(500).try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(byte)
        });
        assert!(all.is_err(), "it listened to all {} bytes", bytes.len());
    }
    still_works(&host);
}

#[test]
fn many_silent_connections_do_not_keep_a_peer_out() {
    let two = listen_with(Options {
        max_handshakes: 4,
        // Not what ends them here.
        handshake_timeout: Duration::from_secs(60),
        ..Options::default()
    });
    let three = listen();
    let (second, third) = (address(&two), address(&three));
    let two = start(two, hello(2), peers([(3, &third)]));
    let silent: Vec<_> = (0..30)
        .map(|_| TcpStream::connect(&second).unwrap())
        .collect();
    let host = (two, start(three, hello(3), peers([(2, &second)])));
    still_works(&host);
    // The oldest gave way.
    ends(silent.into_iter().next().unwrap());
}

fn refuses(dialer: Hello, wanted: u64, theirs: &str) {
    let (one, two) = (listen(), listen());
    let (first, second) = (address(&one), address(&two));
    let two = start(two, hello(2), peers([(1, &first)]));
    let one = start(one, dialer, peers([(wanted, &second)]));
    one.tcp
        .send(ReplicaId(wanted), read(dialer.replica.0, wanted, 1));
    let at_dialer = one.ear.wait_refusal("it refused us").to_string();
    assert!(at_dialer.contains(theirs), "{at_dialer}");
    two.ear.wait_refusal(theirs);
    assert!(two.ear.with(|heard| heard.messages.is_empty()));
}

#[test]
fn strangers_are_refused_and_both_sides_say_why() {
    let other = Hello {
        cluster: 8,
        ..hello(1)
    };
    refuses(
        other,
        2,
        "belongs to cluster 0000000000000008, this replica to 0000000000000007",
    );
    refuses(
        hello(1),
        5,
        "replica 5 was expected at this address, but replica 2 is",
    );
    refuses(hello(9), 2, "replica 9 is not a member here");
}

#[test]
fn another_version_is_refused_with_text() {
    let (two, _three) = host();
    let mut stream = TcpStream::connect(&two.address).unwrap();
    stream.write_all(&greeting(2, CLUSTER, 1, 2)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!((&answer[..4], answer[8]), (&b"LRan"[..], 1));
    let text = String::from_utf8_lossy(&answer[9..answer.len() - 4]).into_owned();
    assert!(text.contains("wire version 2, this replica 1"), "{text}");
    two.ear.wait_refusal("wire version 2, this replica 1");
}

#[test]
fn p52_swapped_addresses_deliver_nothing_to_the_wrong_replica() {
    let (one, two, three) = (listen(), listen(), listen());
    let [first, second, third] = [&one, &two, &three].map(address);
    let two = start(two, hello(2), peers([(1, &first)]));
    let three = start(three, hello(3), peers([(1, &first)]));
    let one = start(one, hello(1), peers([(2, &third), (3, &second)]));
    for number in 0..50 {
        one.tcp.send(ReplicaId(2), read(1, 2, number));
        one.tcp.send(ReplicaId(3), read(1, 3, number));
    }
    for wrong in ["but replica 2 is", "but replica 3 is"] {
        one.ear.wait_refusal(wrong);
    }
    one.tcp.set_peer(ReplicaId(2), &second).unwrap();
    one.tcp.set_peer(ReplicaId(3), &third).unwrap();
    one.tcp.send(ReplicaId(2), read(1, 2, 77));
    one.tcp.send(ReplicaId(3), read(1, 3, 77));
    for (end, id) in [(&two, 2), (&three, 3)] {
        end.ear.wait("its message", |heard| {
            heard.messages.contains(&read(1, id, 77)).then_some(())
        });
        assert!(
            end.ear
                .with(|heard| heard.messages.iter().all(|it| it.to == ReplicaId(id)))
        );
    }
}
