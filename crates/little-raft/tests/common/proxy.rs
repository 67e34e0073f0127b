//! A stretch of network that can be cut, and counts what passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens at one address and passes connections on to another.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    passed: AtomicU64,
    is_cut: AtomicBool,
    has_ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn new(address: &str, target: &str) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            passed: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if accepting.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                accepting.pass_on(connection);
            }
        });
        Self {
            address: address.to_owned(),
            shared,
        }
    }

    /// How many bytes reached the target.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Breaks all connections, and each new one.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.shared.break_all();
    }

    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        self.shared.break_all();
        let _it_wakes_up_to_end = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn pass_on(self: &Arc<Self>, near: TcpStream) {
        let Ok(far) = TcpStream::connect(&self.target) else {
            return;
        };
        let ways =
            [(&near, &far), (&far, &near)].map(|(from, to)| (from.try_clone(), to.try_clone()));
        let mut open = self.open.lock().expect("no panic");
        open.extend([near, far]);
        // Asked under the lock: a cut breaks what is in the list, or comes before this.
        if self.is_cut.load(Ordering::SeqCst) {
            drop(open);
            return self.break_all();
        }
        for (counts, way) in [true, false].into_iter().zip(ways) {
            let (Ok(from), Ok(to)) = way else {
                return;
            };
            let shared = self.clone();
            thread::spawn(move || shared.carry(from, to, counts));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, counts: bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
            if counts {
                self.passed.fetch_add(count as u64, Ordering::SeqCst);
            }
        }
        let _it_may_be_broken = to.shutdown(Shutdown::Both);
    }

    fn break_all(&self) {
        for connection in self.open.lock().expect("no panic").drain(..) {
            let _it_may_be_broken = connection.shutdown(Shutdown::Both);
        }
    }
}
