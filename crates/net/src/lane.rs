//! The way out to one peer for one class of messages: who may write to its connection now, and what waits.
//!
//! The write side belongs to the senders while nothing waits: each tries a write that does not wait, under the lock
//! that keeps their order. As soon as something does not fit, it belongs to the writer thread (`busy`), and everything
//! queues until that has caught up. With encryption the write side would always be the writer's: a record must not be
//! cut off half-way.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use little_raft_core::ReplicaId;
use little_raft_core::message::Class;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::wake::Waker;

/// An encoded message that waits.
#[derive(Debug)]
pub(crate) struct Frame {
    pub bytes: Bytes,
    /// Whether it belongs to a pipeline that is dropped as a whole.
    pub pipelined: bool,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub peer: ReplicaId,
    pub class: Class,
    pub waker: Waker,
    max_queue_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    address: String,
    /// Where the peer itself says it is, if that is elsewhere: its address may have changed without our knowledge.
    heard: Option<String>,
    /// The connection, from its handshake until it breaks.
    link: Option<Arc<TcpStream>>,
    /// The write side is the writer thread's. Invariant: true unless there is a link and nothing waits.
    busy: bool,
    queue: VecDeque<Frame>,
    queued_bytes: usize,
    orders: Orders,
}

/// What the writer thread is to do beside writing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    /// End for good.
    pub stop: bool,
    /// The address changed: the connection and any dial under way are of no use.
    pub redial: bool,
    /// The connection broke.
    pub broken: bool,
    /// The peer is back: dial without waiting.
    pub hurry: bool,
    /// Something was dropped: report the peer unreachable.
    pub lost: bool,
    /// A message was larger than the limit, so many bytes: report it.
    pub too_big: Option<usize>,
}

impl Lane {
    pub(crate) fn new(
        peer: ReplicaId,
        class: Class,
        address: String,
        max_queue_bytes: usize,
    ) -> std::io::Result<Self> {
        Ok(Self {
            peer,
            class,
            waker: Waker::new()?,
            max_queue_bytes,
            state: Mutex::new(State {
                address,
                heard: None,
                link: None,
                busy: true,
                queue: VecDeque::new(),
                queued_bytes: 0,
                orders: Orders::default(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes or queues a frame; never waits. Returns how many frames were dropped.
    pub(crate) fn send(&self, mut frame: Frame) -> u64 {
        let mut state = self.state();
        if self.class == Class::Snapshot {
            // Its pieces are large: copying them is no work for the caller. And its writer may be asleep.
            if !state.busy || state.queue.is_empty() {
                state.busy = true;
                self.waker.wake();
            }
        } else if !state.busy {
            match write_now(state.link.as_deref(), &frame.bytes) {
                Ok(count) if count == frame.bytes.len() => return 0,
                Ok(count) => {
                    // What has begun must be completed, or the stream is cut in the middle of a frame.
                    frame.pipelined &= count == 0;
                    frame.bytes.advance(count);
                }
                Err(_) => {
                    state.link = None;
                    state.orders.broken = true;
                }
            }
            state.busy = true;
            self.waker.wake();
        }
        self.enqueue(&mut state, frame)
    }

    /// Rule 12: at the bound all appends that wait go, and the peer is reported. One from the middle would cost the
    /// pipeline more than all of it does.
    fn enqueue(&self, state: &mut State, frame: Frame) -> u64 {
        let mut dropped = 0;
        if !state.has_room(frame.bytes.len(), self.max_queue_bytes) {
            dropped += state.drop_pipelined();
            state.lose(&self.waker);
            if frame.pipelined || !state.has_room(frame.bytes.len(), self.max_queue_bytes) {
                return dropped + 1;
            }
        }
        state.queued_bytes += frame.bytes.len();
        state.queue.push_back(frame);
        dropped
    }

    /// A message was larger than what peers accept.
    pub(crate) fn too_big(&self, bytes: usize) {
        let mut state = self.state();
        state.orders.too_big = Some(bytes);
        state.lose(&self.waker);
    }

    /// Ends the writer thread.
    pub(crate) fn stop(&self) {
        self.state().orders.stop = true;
        self.waker.wake();
    }

    /// The peer has just proved to be there.
    pub(crate) fn hurry(&self) {
        let mut state = self.state();
        if state.link.is_none() {
            state.orders.hurry = true;
            self.waker.wake();
        }
    }

    pub(crate) fn set_address(&self, address: &str) {
        let mut state = self.state();
        if state.address != address {
            address.clone_into(&mut state.address);
            state.orders.redial = true;
            // What is sent from here on is meant for the new address.
            (state.link, state.busy) = (None, true);
            self.waker.wake();
        }
    }

    /// The peer says that it is reached there.
    pub(crate) fn hear(&self, address: &str) {
        let mut state = self.state();
        let elsewhere = !address.is_empty() && state.address != address;
        state.heard = elsewhere.then(|| address.to_owned());
    }

    // What follows is for the writer thread.

    /// The addresses to dial now, the likeliest first; changes from before are thereby heeded.
    pub(crate) fn dialing(&self) -> Vec<String> {
        let mut state = self.state();
        state.orders.redial = false;
        state.orders.broken = false;
        let mut addresses = vec![state.address.clone()];
        addresses.extend(state.heard.clone());
        addresses
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state().queue.is_empty()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state().orders.stop
    }

    /// Whether a dial under way is pointless by now.
    pub(crate) fn gives_up_dialing(&self) -> bool {
        let orders = self.state().orders;
        orders.stop || orders.redial
    }

    /// The orders; those that are done once are thereby taken.
    pub(crate) fn take_orders(&self) -> Orders {
        self.state().take_orders()
    }

    /// Moves what waits into `batch`, up to a good size of one write; hands the write side over if nothing does.
    pub(crate) fn take(&self, batch: &mut VecDeque<Bytes>) -> Orders {
        const COUNT_MAX: usize = 64;
        const BYTES_MAX: usize = 256 << 10;
        let mut state = self.state();
        if state.link.is_none() {
            // Broken or outdated: what waits is for the next connection.
            return state.take_orders();
        }
        let mut bytes: usize = batch.iter().map(Bytes::len).sum();
        while batch.is_empty() || (batch.len() < COUNT_MAX && bytes < BYTES_MAX) {
            let Some(frame) = state.queue.pop_front() else {
                break;
            };
            state.queued_bytes -= frame.bytes.len();
            bytes += frame.bytes.len();
            batch.push_back(frame.bytes);
        }
        state.busy = !batch.is_empty();
        state.take_orders()
    }

    /// A connection is made; the write side stays the writer's until the next [`Lane::take`].
    pub(crate) fn up(&self, link: Arc<TcpStream>) {
        let mut state = self.state();
        state.orders.hurry = false;
        state.link = (!state.orders.redial).then_some(link);
    }

    /// The connection broke. Waiting appends would leave a gap before them, so they go too; the rest waits on.
    pub(crate) fn down(&self) -> u64 {
        let mut state = self.state();
        (state.link, state.busy) = (None, true);
        state.drop_pipelined()
    }

    /// The peer can't be reached: what waits would be stale when it can. A new address has not been tried yet.
    pub(crate) fn clear(&self) -> u64 {
        let mut state = self.state();
        if state.orders.redial {
            return 0;
        }
        state.queued_bytes = 0;
        std::mem::take(&mut state.queue).len() as u64
    }
}

impl State {
    fn has_room(&self, bytes: usize, limit: usize) -> bool {
        self.queue.is_empty() || self.queued_bytes + bytes <= limit
    }

    fn drop_pipelined(&mut self) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|frame| !frame.pipelined);
        self.queued_bytes = self.queue.iter().map(|frame| frame.bytes.len()).sum();
        (before - self.queue.len()) as u64
    }

    fn lose(&mut self, waker: &Waker) {
        if !self.orders.lost {
            self.orders.lost = true;
            waker.wake();
        }
    }

    fn take_orders(&mut self) -> Orders {
        let orders = self.orders;
        self.orders = Orders {
            stop: orders.stop,
            redial: orders.redial,
            broken: orders.broken,
            ..Orders::default()
        };
        orders
    }
}

fn write_now(link: Option<&TcpStream>, bytes: &[u8]) -> Result<usize, Errno> {
    let link = link.ok_or(Errno::NOTCONN)?;
    match rustix::net::send(link, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(0),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize, pipelined: bool) -> Frame {
        Frame {
            bytes: Bytes::from(vec![0; bytes]),
            pipelined,
        }
    }

    /// One append lost from the middle of a pipeline costs the peer all behind it: then better none of them is sent.
    #[test]
    fn at_the_bound_all_appends_go_and_the_rest_stays() {
        let lane = Lane::new(ReplicaId(2), Class::Bulk, String::new(), 1000);
        let lane = lane.expect("a waker can be made");
        assert_eq!(lane.send(frame(400, true)), 0);
        assert_eq!(lane.send(frame(100, false)), 0);
        assert_eq!(lane.send(frame(400, true)), 0);
        assert_eq!(lane.send(frame(400, true)), 3);
        assert!(lane.state().orders.lost, "the peer is to be reported");
        let left: Vec<usize> = lane.state().queue.iter().map(|it| it.bytes.len()).collect();
        assert_eq!(left, [100]);
        assert_eq!(lane.send(frame(400, true)), 0, "there is room again");
    }
}
