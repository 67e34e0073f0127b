//! A group whose links are narrow: what is on its way for longer than an election timeout costs no election.
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bound, Dir, Journal, members, timing, until};
use little_raft::{Replica, State};

const BYTES_PER_SECOND: u32 = 10_000_000 / 8;
const ENTRY_BYTES: usize = 256 << 10;
const ENTRIES: usize = 16;

#[test]
fn p53_entries_on_a_narrow_link_cost_no_election() {
    let _bound = Bound::new();
    let dir = Dir::new("slow-link");
    let (public, private) = (members(3), members(3));
    for ((_, public), (_, private)) in public.iter().zip(&private) {
        narrow(public, private.clone());
    }
    let group: Vec<Replica<Journal>> = private
        .iter()
        .map(|(id, address)| {
            let builder = Replica::<Journal>::builder(*id)
                .members(public.clone())
                .listen(address)
                .data_dir(dir.0.join(id.to_string()))
                .timing(timing());
            builder.start(Journal::default()).expect("it starts")
        })
        .collect();
    let leader = until("a leader", || {
        let leads = |replica: &&Replica<Journal>| replica.status().state == State::Leader;
        group.iter().find(leads)
    });
    let term = leader.status().term;
    let pending: Vec<_> = (0..ENTRIES)
        .map(|_| leader.propose(vec![b'x'; ENTRY_BYTES]))
        .collect();
    for (index, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait(), Ok(index + 1));
    }
    for replica in &group {
        let applied = until("all of it everywhere", || {
            let status = replica.status();
            (status.applied >= leader.status().committed).then_some(status)
        });
        assert_eq!(applied.term, term, "there was an election");
    }
}

/// Whoever connects to `public` speaks to `private`, which has a narrow link for all that it hears. Small messages of one
/// connection get between the pieces of another, as on a real one.
fn narrow(public: &str, private: String) {
    let listener = TcpListener::bind(public).expect("the port is free");
    let link = Arc::new(Link(Mutex::new(Instant::now())));
    thread::spawn(move || {
        for dialer in listener.incoming().flatten() {
            let (private, link) = (private.clone(), Arc::clone(&link));
            thread::spawn(move || relay(&dialer, &private, &link));
        }
    });
}

fn relay(dialer: &TcpStream, private: &str, link: &Link) {
    let Ok(acceptor) = TcpStream::connect(private) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| carry(dialer, &acceptor, |bytes| link.pass(bytes)));
        carry(&acceptor, dialer, |_| ());
    });
}

/// When all that was given to it will have passed.
struct Link(Mutex<Instant>);

impl Link {
    fn pass(&self, bytes: usize) {
        let passed = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let takes = Duration::from_secs(1) * bytes as u32 / BYTES_PER_SECOND;
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        thread::sleep(passed.saturating_duration_since(Instant::now()));
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, pass: impl Fn(usize)) {
    let mut piece = [0; 4 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        pass(bytes);
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    // Either end's loss is the other's.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
