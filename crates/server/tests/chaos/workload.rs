//! Clients that write and read all the time, and write down what they were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use little_raft_history::{Call, Held, Operation};
use little_raft_server::demo::client::Client;
use tokio::task::JoinHandle;

use crate::journal::Journal;
use crate::random::Random;
use crate::store::{Answer, Store, Value};

const CLIENTS: u64 = 8;
/// Registers at a time; then others, so that a history stays short enough to be read.
const REGISTERS: u64 = 4;
const REGISTERS_TIME: Duration = Duration::from_secs(10);
/// A client that can't get an answer goes on without it.
const PATIENCE_MS: (u64, u64) = (300, 3_000);
const PAUSE_MS: (u64, u64) = (2, 20);
/// So many of a thousand calls go to another server than the last.
const WANDERS_PERMILLE: u64 = 100;

/// What all clients were told.
#[derive(Default)]
pub struct Told {
    pub history: Vec<Operation>,
    /// Keys that were written once, and acknowledged.
    pub kept: Vec<(String, Value)>,
    pub counts: Counts,
}

/// How the calls ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub answered: u64,
    pub unknown: u64,
    pub refused: u64,
}

pub struct Workload {
    told: Arc<Mutex<Told>>,
    stops: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Workload {
    pub fn start(servers: &[Client], journal: &Arc<Journal>, random: &mut Random) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let stops = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let caller = Caller {
                number,
                written: 0,
                servers: servers.to_vec(),
                at: random.below(servers.len() as u64) as usize,
                last: Held(None),
                journal: Arc::clone(journal),
                random: random.branch(),
                told: Arc::clone(&told),
            };
            tokio::spawn(caller.call_until(Arc::clone(&stops)))
        };
        let clients = (1..=CLIENTS).map(client).collect();
        Self {
            told,
            stops,
            clients,
        }
    }

    /// Ends when every call has.
    pub async fn stop(self) -> Told {
        self.stops.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client doesn't panic");
        }
        let mut told = self.told.lock().expect("nobody panics with it");
        std::mem::take(&mut *told)
    }
}

/// Whichever registers are in use after so long.
fn register(elapsed: Duration, random: &mut Random) -> String {
    let generation = elapsed.as_secs() / REGISTERS_TIME.as_secs();
    format!("register/{generation:03}/{}", random.below(REGISTERS))
}

struct Caller {
    number: u64,
    written: u64,
    servers: Vec<Client>,
    at: usize,
    /// What it saw last, for swaps that have a chance.
    last: Held,
    journal: Arc<Journal>,
    random: Random,
    told: Arc<Mutex<Told>>,
}

impl Caller {
    async fn call_until(mut self, stops: Arc<AtomicBool>) {
        while !stops.load(Ordering::Relaxed) {
            if self.random.chance(WANDERS_PERMILLE) {
                self.wander();
            }
            match self.random.below(10) {
                0 => self.keep().await,
                _ => self.operate().await,
            }
            let pause = self.random.between(PAUSE_MS.0, PAUSE_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn wander(&mut self) {
        self.at = self.random.below(self.servers.len() as u64) as usize;
    }

    fn store(&mut self) -> Store {
        let patience = self.random.between(PATIENCE_MS.0, PATIENCE_MS.1);
        let client = self.servers[self.at].clone();
        Store::new(client, Duration::from_millis(patience))
    }

    /// No two writes of a run have the same.
    fn new_value(&mut self) -> u64 {
        self.written += 1;
        self.number * 10_000_000 + self.written
    }

    /// Writes a key that nobody else writes.
    async fn keep(&mut self) {
        let value = Value(self.new_value());
        let key = format!("kept/{}", value.0);
        let put = Call::Put { value: value.0 };
        let answer = self.store().call(&key, put, false).await;
        self.count(answer);
        if let Answer::Done(_) = answer {
            let mut told = self.told.lock().expect("nobody panics with it");
            told.kept.push((key, value));
        }
    }

    async fn operate(&mut self) {
        let key = register(self.journal.elapsed(), &mut self.random);
        let call = self.any_call();
        let says_what_was = self.random.chance(500);
        let called = self.journal.elapsed();
        let answer = self.store().call(&key, call, says_what_was).await;
        let ended = self.journal.elapsed();
        self.count(answer);
        let (ended, found) = match answer {
            Answer::Done(found) => (Some(ended), found),
            Answer::Unknown => (None, None),
            // It is told that nothing was done: whoever sees its value has caught a liar.
            Answer::NotDone => return,
        };
        if let Some(found) = found {
            self.last = found;
        }
        let mut told = self.told.lock().expect("nobody panics with it");
        told.history.push(Operation {
            client: self.number,
            key,
            call,
            called: nanoseconds(called),
            ended: ended.map(nanoseconds),
            found,
        });
    }

    fn any_call(&mut self) -> Call {
        match self.random.below(10) {
            0..4 => Call::Get,
            4..7 => Call::Put {
                value: self.new_value(),
            },
            _ => Call::Swap {
                expected: self.last,
                value: self.new_value(),
            },
        }
    }

    fn count(&mut self, answer: Answer) {
        let mut told = self.told.lock().expect("nobody panics with it");
        let count = match answer {
            Answer::Done(_) => &mut told.counts.answered,
            Answer::Unknown => &mut told.counts.unknown,
            Answer::NotDone => &mut told.counts.refused,
        };
        *count += 1;
        drop(told);
        if !matches!(answer, Answer::Done(_)) {
            self.wander();
        }
    }
}

pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is shorter than 500 years")
}
