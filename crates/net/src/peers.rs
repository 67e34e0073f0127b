//! Who is spoken to: the members that we know of, and guests.
//!
//! A guest is one that says to be a member, and of whom we don't know it. It may have been added while we were away, and
//! even lead: what we don't know can only come from it. So it is heard, and answered where it says it is reached. Whether
//! it is listened to is the core's business.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;

use little_raft_core::ReplicaId;
use little_raft_core::message::Class;

use crate::lane::Lane;
use crate::shared::{Peer, Shared, lock};
use crate::writer;

/// Rule 12: the oldest gives way to one more.
const GUESTS_MAX: usize = 8;

impl Shared {
    /// Adds a member, or changes its address.
    pub(crate) fn set_member(self: &Arc<Self>, id: ReplicaId, address: &str) -> io::Result<()> {
        lock(&self.guests).retain(|guest| *guest != id);
        self.set_peer(id, address)
    }

    /// Adds a peer that is no member as far as we know.
    pub(crate) fn set_guest(self: &Arc<Self>, id: ReplicaId, address: &str) -> io::Result<()> {
        let mut guests = lock(&self.guests);
        if guests.contains(&id) {
            return Ok(());
        }
        guests.push_back(id);
        let surplus = guests.len() > GUESTS_MAX;
        let oldest = surplus.then(|| guests.pop_front()).flatten();
        drop(guests);
        if let Some(oldest) = oldest {
            self.remove_peer(oldest);
        }
        self.set_peer(id, address)
    }

    fn set_peer(self: &Arc<Self>, id: ReplicaId, address: &str) -> io::Result<()> {
        if id == self.me.replica {
            return Ok(());
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, which stopping takes as well.
        if self.is_stopping() {
            return Ok(());
        }
        if let Some(peer) = peers.get(&id) {
            peer.each(|lane| lane.set_address(address));
            return Ok(());
        }
        let open = |class| self.open(id, class, address);
        let peer = Peer {
            urgent: open(Class::Urgent)?,
            bulk: open(Class::Bulk)?,
            snapshots: open(Class::Snapshot)?,
        };
        for lane in peer.lanes().map(Arc::clone) {
            if let Err(error) = self.spawn_writer(lane) {
                peer.each(Lane::stop);
                return Err(error);
            }
        }
        peers.insert(id, peer);
        Ok(())
    }

    /// Forgets a peer: its connections are closed.
    pub(crate) fn remove_peer(&self, id: ReplicaId) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.remove(&id) {
            peer.each(Lane::stop);
        }
        drop(peers);
        self.inbound.close_peer(id);
    }

    fn open(&self, id: ReplicaId, class: Class, address: &str) -> io::Result<Arc<Lane>> {
        let queue = self.options.max_queue_bytes;
        Lane::new(id, class, address.into(), queue).map(Arc::new)
    }

    fn spawn_writer(self: &Arc<Self>, lane: Arc<Lane>) -> io::Result<()> {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("little-raft-write".into())
            .spawn(move || writer::run(&lane, &shared))?;
        lock(&self.threads).push(thread);
        Ok(())
    }
}
