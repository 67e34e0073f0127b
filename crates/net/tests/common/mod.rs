//! Endpoints on loopback that note what they hear.
#![allow(dead_code, missing_docs)] // each test file uses its part

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use little_raft_core::message::{Append, Body, Content, Read, Snapshot, Stamp};
use little_raft_core::{Base, Entry, EntryKind, Message, Position, ReplicaId};
use little_raft_net::{Handler, Hello, Listener, Options, Refusal, Tcp};

pub const CLUSTER: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct Heard {
    pub messages: Vec<Message>,
    pub unreachable: Vec<ReplicaId>,
    pub refused: Vec<Refusal>,
}

#[derive(Default)]
pub struct Ear {
    heard: Mutex<Heard>,
    news: Condvar,
}

impl Ear {
    /// Waits until `wanted` finds what it looks for.
    pub fn wait<T>(&self, what: &str, mut wanted: impl FnMut(&Heard) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut heard = self.heard.lock().unwrap();
        loop {
            if let Some(found) = wanted(&heard) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            heard = self.news.wait_timeout(heard, left).unwrap().0;
        }
    }

    pub fn wait_messages(&self, count: usize) -> Vec<Message> {
        self.wait(&format!("{count} messages"), |heard| {
            (heard.messages.len() >= count).then(|| heard.messages.clone())
        })
    }

    pub fn wait_refusal(&self, part: &str) -> Refusal {
        self.wait(part, |heard| {
            let mut all = heard.refused.iter();
            all.find(|it| it.to_string().contains(part)).cloned()
        })
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.heard.lock().unwrap())
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().unwrap());
        self.news.notify_all();
    }
}

impl Handler for Ear {
    fn deliver(&self, message: Message) {
        self.note(|heard| heard.messages.push(message));
    }
    fn unreachable(&self, peer: ReplicaId) {
        self.note(|heard| heard.unreachable.push(peer));
    }
    fn refused(&self, refusal: Refusal) {
        self.note(|heard| heard.refused.push(refusal));
    }
}

pub fn hello(replica: u64) -> Hello {
    Hello {
        cluster: CLUSTER,
        replica: ReplicaId(replica),
        incarnation: replica * 100,
        boot: 1,
    }
}

pub fn listen() -> Listener {
    listen_with(Options::default())
}

pub fn listen_with(options: Options) -> Listener {
    Tcp::bind("127.0.0.1:0", options).unwrap()
}

pub fn address(listener: &Listener) -> String {
    listener.local_addr().to_string()
}

pub fn peers<const N: usize>(peers: [(u64, &str); N]) -> BTreeMap<ReplicaId, String> {
    let own = |(id, address): (u64, &str)| (ReplicaId(id), address.to_string());
    peers.into_iter().map(own).collect()
}

/// While it lives, the test may run; a test that hangs (in a `stop` that never returns, say) says so and ends.
pub struct Bound(Option<Sender<()>>);

impl Bound {
    pub fn new() -> Self {
        const LIMIT: Duration = Duration::from_secs(120);
        let (alive, ended) = channel::<()>();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // Past the harness, which would keep it to itself.
                let _ = writeln!(
                    io::stderr(),
                    "it hangs: {test} has not ended after {LIMIT:?}"
                );
                std::process::exit(101);
            }
        });
        Self(Some(alive))
    }
}

pub struct End {
    pub tcp: Tcp,
    pub ear: Arc<Ear>,
    pub address: String,
    /// The last to be dropped.
    _bound: Bound,
}

/// One that knows to be a member, and where it is reached.
pub fn start_member(listener: Listener, hello: Hello, peers: BTreeMap<ReplicaId, String>) -> End {
    let own_address = address(&listener);
    start(listener.reached_at(&own_address), hello, peers)
}

pub fn start(listener: Listener, hello: Hello, peers: BTreeMap<ReplicaId, String>) -> End {
    let ear = Arc::new(Ear::default());
    let address = address(&listener);
    let handler: Arc<dyn Handler> = ear.clone();
    let tcp = listener.start(hello, peers, handler).unwrap();
    End {
        tcp,
        ear,
        address,
        _bound: Bound::new(),
    }
}

/// Replicas 1 and 2, who know each other.
pub fn pair(options: Options) -> (End, End) {
    let (one, two) = (listen_with(options.clone()), listen_with(options));
    let (first, second) = (address(&one), address(&two));
    let one = start(one, hello(1), peers([(2, &second)]));
    let two = start(two, hello(2), peers([(1, &first)]));
    (one, two)
}

pub fn message(from: u64, to: u64, body: Body) -> Message {
    Message {
        cluster: CLUSTER,
        group: 0,
        from: ReplicaId(from),
        to: ReplicaId(to),
        from_incarnation: from * 100,
        to_incarnation: None,
        boot: 1,
        term: 1,
        body,
    }
}

pub fn read(from: u64, to: u64, number: u64) -> Message {
    message(from, to, Body::Read(Read { number }))
}

pub fn append(from: u64, to: u64, number: u64, payload: Bytes) -> Message {
    let entry = Entry {
        position: Position::new(1, 1),
        kind: EntryKind::Command,
        time: 0,
        checksum: crc32c::crc32c(&payload),
        payload,
    };
    let append = Append {
        stamp: Stamp {
            number,
            ..Stamp::default()
        },
        prev: Position::default(),
        committed: 0,
        settled: 0,
        entries: [entry].into(),
    };
    message(from, to, Body::Append(append))
}

pub fn piece(from: u64, to: u64, offset: u64, data: Bytes) -> Message {
    let piece = Snapshot {
        transfer: 1,
        base: Base::default(),
        content: Content::Made(1),
        offset,
        data,
        done: false,
        elsewhere: None,
    };
    message(from, to, Body::Snapshot(piece))
}

pub fn number(message: &Message) -> u64 {
    match &message.body {
        Body::Read(read) => read.number,
        Body::Append(append) => append.stamp.number,
        Body::Snapshot(piece) => piece.offset,
        other => panic!("not sent by these tests: {other:?}"),
    }
}
