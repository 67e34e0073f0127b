//! What a message's way there and back costs beside 64 raw bytes over the same loopback.
//!
//! `cargo run --release -p little-raft-net --example roundtrip`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use little_raft_core::message::{Body, Forward};
use little_raft_core::{Message, Proposal, ReplicaId};
use little_raft_net::{Handler, Hello, Options, Tcp};

const ROUNDS: usize = 21;
const TRIPS: u32 = 2000;

/// Sends back what it hears, or counts down the trips and then says that they are over.
struct Player {
    tcp: OnceLock<Tcp>,
    over: Option<mpsc::SyncSender<()>>,
    left: std::sync::atomic::AtomicU32,
}

impl Handler for Player {
    fn deliver(&self, message: Message) {
        use std::sync::atomic::Ordering::Relaxed;
        if let Some(over) = &self.over {
            if self.left.fetch_sub(1, Relaxed) == 1 {
                let _ = over.send(());
                return;
            }
        }
        let Some(tcp) = self.tcp.get() else { return };
        let (from, to) = (message.to, message.from);
        tcp.send(
            to,
            Message {
                from,
                to,
                ..message
            },
        );
    }
    fn unreachable(&self, _: ReplicaId) {}
}

fn player(over: Option<mpsc::SyncSender<()>>) -> Arc<Player> {
    Arc::new(Player {
        tcp: OnceLock::new(),
        over,
        left: 0.into(),
    })
}

fn raw_pair() -> Result<TcpStream, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while server.read_exact(&mut bytes).is_ok() && server.write_all(&bytes).is_ok() {}
    });
    Ok(client)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / 1000.0 / f64::from(TRIPS)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut raw = raw_pair()?;
    let listeners = [1, 2].map(|_| Tcp::bind("127.0.0.1:0", Options::default()));
    let [one, two] = listeners;
    let (one, two) = (one?, two?);
    let ids = [ReplicaId(1), ReplicaId(2)];
    let peers: BTreeMap<_, _> = [&one, &two]
        .into_iter()
        .zip(ids)
        .map(|(listener, id)| (id, listener.local_addr().to_string()))
        .collect();
    let (over, is_over) = mpsc::sync_channel(1);
    let players = [player(Some(over)), player(None)];
    for ((listener, replica), player) in [one, two].into_iter().zip(ids).zip(&players) {
        let hello = Hello {
            cluster: 1,
            replica,
            incarnation: 1,
            boot: 1,
        };
        let tcp = listener.start(hello, peers.clone(), player.clone())?;
        let _ = player.tcp.set(tcp);
    }
    let forward = Forward {
        sequence: 1,
        proposal: Proposal::command(0, vec![7; 64].into()),
    };
    let message = Message {
        cluster: 1,
        group: 0,
        from: ids[0],
        to: ids[1],
        from_incarnation: 1,
        to_incarnation: None,
        boot: 1,
        term: 1,
        body: Body::Forward(forward),
    };
    let (mut raw_times, mut message_times) = (Vec::new(), Vec::new());
    let mut bytes = [0; 64];
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for _ in 0..TRIPS {
            raw.write_all(&bytes)?;
            raw.read_exact(&mut bytes)?;
        }
        raw_times.push(begin.elapsed());
        players[0]
            .left
            .store(TRIPS, std::sync::atomic::Ordering::Relaxed);
        let begin = Instant::now();
        players[0]
            .tcp
            .get()
            .ok_or("not started")?
            .send(ids[1], message.clone());
        is_over.recv_timeout(Duration::from_secs(30))?;
        message_times.push(begin.elapsed());
    }
    let (raw, message) = (median(raw_times), median(message_times));
    println!("raw 64 bytes:    {raw:.2} us a round trip");
    println!(
        "64-byte message: {message:.2} us a round trip, {:.2} times raw",
        message / raw
    );
    for player in &players {
        player.tcp.get().ok_or("not started")?.stop();
    }
    Ok(())
}
