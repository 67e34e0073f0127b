//! Two endpoints that get on with each other, and lose each other.

mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::*;
use little_raft_core::{Message, ReplicaId};
use little_raft_net::{BindError, Options, Tcp};

#[test]
fn a_message_and_its_reply_arrive() {
    let (one, two) = pair(Options::default());
    one.tcp.send(ReplicaId(2), read(1, 2, 11));
    assert_eq!(two.ear.wait_messages(1), [read(1, 2, 11)]);
    two.tcp.send(ReplicaId(1), read(2, 1, 12));
    assert_eq!(one.ear.wait_messages(1), [read(2, 1, 12)]);
}

#[test]
fn names_are_resolved() {
    let (one, two) = (listen(), listen());
    let port = two.local_addr().port();
    let first = address(&one);
    let one = start(one, hello(1), peers([(2, &format!("localhost:{port}"))]));
    let two = start(two, hello(2), peers([(1, &first)]));
    one.tcp.send(ReplicaId(2), read(1, 2, 1));
    two.ear.wait_messages(1);
}

#[test]
fn messages_of_each_thread_keep_their_order_under_load() {
    const THREADS: u64 = 8;
    const EACH: u64 = 2000;
    let options = Options {
        max_queue_bytes: 1 << 30,
        ..Options::default()
    };
    let (one, two) = pair(options);
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let tcp = one.tcp.clone();
            thread::spawn(move || {
                for count in 0..EACH {
                    let number = thread * EACH + count;
                    let payload = Bytes::from(vec![thread as u8; (count as usize % 7) * 500]);
                    tcp.send(ReplicaId(2), append(1, 2, number, payload));
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|it| it.join().unwrap());
    let all = two.ear.wait_messages((THREADS * EACH) as usize);
    for thread in 0..THREADS {
        let of_thread = all.iter().map(number).filter(|it| it / EACH == thread);
        assert!(of_thread.eq(thread * EACH..(thread + 1) * EACH));
    }
    assert_eq!(one.tcp.counts().dropped, 0);
}

#[test]
fn big_messages_arrive_whole() {
    let (one, two) = pair(Options::default());
    for (number, size) in [1 << 10, 16 << 10, 64 << 10, 1 << 20, 16 << 20]
        .into_iter()
        .enumerate()
    {
        let payload: Bytes = (0..size).map(|at: usize| ((at * 31) >> 3) as u8).collect();
        let sent = append(1, 2, number as u64, payload);
        one.tcp.send(ReplicaId(2), sent.clone());
        let got = two.ear.wait_messages(number + 1);
        assert!(got[number] == sent, "{size} bytes differ");
    }
}

#[test]
fn a_message_above_the_limit_is_dropped_and_reported() {
    let (one, two) = pair(Options {
        max_frame_bytes: 1000,
        ..Options::default()
    });
    one.tcp
        .send(ReplicaId(2), append(1, 2, 1, vec![0; 2000].into()));
    one.ear.wait_refusal("above the limit of 1000");
    one.tcp.send(ReplicaId(2), read(1, 2, 2));
    assert_eq!(two.ear.wait_messages(1), [read(1, 2, 2)]);
}

#[test]
fn a_full_queue_drops_its_appends_and_reports_the_peer() {
    // A peer that shakes hands and then reads nothing: its handler is stuck.
    struct Stuck(std::sync::Mutex<()>);
    impl little_raft_net::Handler for Stuck {
        fn deliver(&self, _: little_raft_core::Message) {
            drop(self.0.lock());
        }
        fn unreachable(&self, _: ReplicaId) {}
    }
    let (one, two) = (
        listen_with(Options {
            max_queue_bytes: 1 << 20,
            stall_timeout: Duration::from_secs(60),
            ..Options::default()
        }),
        listen(),
    );
    let (first, second) = (address(&one), address(&two));
    let stuck = Arc::new(Stuck(std::sync::Mutex::new(())));
    let held = stuck.0.lock().unwrap();
    let two = two
        .start(hello(2), peers([(1, &first)]), stuck.clone())
        .unwrap();
    let one = start(one, hello(1), peers([(2, &second)]));
    for number in 0..400 {
        one.tcp
            .send(ReplicaId(2), append(1, 2, number, vec![0; 100_000].into()));
    }
    one.ear.wait("a report", |heard| {
        heard.unreachable.contains(&ReplicaId(2)).then_some(())
    });
    assert!(one.tcp.counts().dropped > 10);
    drop(held);
    two.stop();
}

#[test]
fn a_restarted_peer_is_dialed_again() {
    let (one, two) = pair(Options::default());
    one.tcp.send(ReplicaId(2), read(1, 2, 1));
    two.ear.wait_messages(1);
    let (place, first) = (two.address.clone(), one.address.clone());
    two.tcp.stop();
    drop(two);
    one.ear.wait("a report", |heard| {
        heard.unreachable.contains(&ReplicaId(2)).then_some(())
    });
    let again = Tcp::bind(&place, Options::default()).unwrap();
    let two = start(again, hello(2), peers([(1, &first)]));
    // It dials us; by that we know that it is back.
    two.tcp.send(ReplicaId(1), read(2, 1, 2));
    one.ear.wait_messages(1);
    let end = Instant::now() + Duration::from_secs(10);
    while two.ear.with(|heard| heard.messages.is_empty()) {
        assert!(Instant::now() < end, "the restarted peer hears nothing");
        one.tcp.send(ReplicaId(2), read(1, 2, 3));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_address_can_change_and_a_peer_can_go() {
    let (one, two) = pair(Options::default());
    one.tcp.send(ReplicaId(2), read(1, 2, 1));
    two.ear.wait_messages(1);
    let elsewhere = listen();
    one.tcp
        .set_peer(ReplicaId(2), &address(&elsewhere))
        .unwrap();
    let moved = start(elsewhere, hello(2), peers([(1, &one.address)]));
    one.tcp.send(ReplicaId(2), read(1, 2, 2));
    assert_eq!(number(&moved.ear.wait_messages(1)[0]), 2);
    one.tcp.remove_peer(ReplicaId(2));
    moved.ear.wait_refusal("is not a member here");
    one.tcp.send(ReplicaId(2), read(1, 2, 3));
    assert_eq!(one.tcp.counts().dropped, 1);
}

#[test]
fn a_port_in_use_is_said() {
    let one = listen();
    let error = Tcp::bind(&address(&one), Options::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    assert!(
        error
            .to_string()
            .contains("the port is in use; stop the process"),
        "{error}"
    );
    let error = Tcp::bind("not an address", Options::default()).unwrap_err();
    assert!(matches!(error, BindError::Address { .. }));
}

#[test]
fn stopping_ends_every_thread_soon() {
    let (one, two) = pair(Options::default());
    one.tcp.send(ReplicaId(2), read(1, 2, 1));
    one.tcp
        .send(ReplicaId(2), piece(1, 2, 1, vec![0; 1000].into()));
    two.ear.wait_messages(2);
    // One that hangs in its handshake, one peer that nobody answers for.
    let _silent = std::net::TcpStream::connect(&two.address).unwrap();
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    two.tcp
        .set_peer(ReplicaId(3), &deaf.local_addr().unwrap().to_string())
        .unwrap();
    let begin = Instant::now();
    two.tcp.stop();
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    // Every thread held the handler through what they share.
    drop(two.tcp);
    assert_eq!(Arc::strong_count(&two.ear), 1);
}

#[test]
fn p53_a_snapshot_does_not_delay_messages() {
    urgent_overtakes(|number, data| piece(1, 2, number, data));
}

#[test]
fn p53_entries_do_not_delay_messages() {
    urgent_overtakes(|number, data| append(1, 2, number, data));
}

fn urgent_overtakes(big: impl Fn(u64, Bytes) -> Message) {
    let options = Options {
        max_queue_bytes: 200 << 20,
        ..Options::default()
    };
    let (one, two) = pair(options);
    let data = Bytes::from(vec![1; 1 << 20]);
    for number in 0..100 {
        one.tcp.send(ReplicaId(2), big(number, data.clone()));
    }
    one.tcp.send(ReplicaId(2), read(1, 2, 1000));
    let before = two.ear.wait("the message", |heard| {
        heard.messages.iter().position(|it| number(it) == 1000)
    });
    assert!(before < 90, "{before} big ones came first");
    let all = two.ear.wait_messages(101);
    assert!(all.iter().map(number).filter(|it| *it < 1000).eq(0..100));
}
