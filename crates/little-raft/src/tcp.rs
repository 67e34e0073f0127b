//! The built-in cluster: TCP.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use little_raft_core::{Identity, Member, Message, ReplicaId};
use little_raft_net::{Handler, Hello, Listener, Options, Refusal, Tcp};

use crate::cluster::{Cluster, Inbox};

/// Replicas that talk through TCP, a connection a direction and peer.
pub struct TcpCluster {
    listener: Option<Listener>,
    tcp: Option<Tcp>,
    hello: Hello,
    peers: BTreeMap<ReplicaId, String>,
    /// Where its peers reach this replica; empty as long as it does not know to be a member.
    own_address: String,
    max_message_bytes: usize,
}

impl TcpCluster {
    /// Listens on `address` for the replica that `identity` names; its peers are dialed at the given addresses once
    /// the replica starts.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn bind(
        address: &str,
        identity: &Identity,
        peers: BTreeMap<ReplicaId, String>,
    ) -> io::Result<Self> {
        let options = Options::default();
        let max_message_bytes = options.max_frame_bytes;
        Ok(Self {
            listener: Some(Tcp::bind(address, options).map_err(io::Error::other)?),
            tcp: None,
            hello: Hello {
                cluster: identity.cluster,
                replica: identity.replica,
                incarnation: identity.incarnation,
                boot: identity.boot,
            },
            peers,
            own_address: address_of(identity.replica, &identity.founders),
            max_message_bytes,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let listening = self.listener.as_ref().map(Listener::local_addr);
        listening.or_else(|| self.tcp.as_ref().map(Tcp::local_addr))
    }
}

/// Which replica listens for its peers at `address`, a `host:port`; nothing if none answers within `timeout`. Blocks.
pub fn who_listens(address: &str, timeout: Duration) -> Option<ReplicaId> {
    let hello = little_raft_net::ask(address, timeout).ok()?;
    Some(hello.replica)
}

impl Cluster for TcpCluster {
    fn start(&mut self, inbox: Inbox) -> io::Result<()> {
        let listener = self.listener.take();
        let listener = listener.ok_or_else(|| io::Error::other("it was started already"))?;
        let handler = Arc::new(Incoming { inbox });
        let listener = listener.reached_at(&self.own_address);
        self.tcp = Some(listener.start(self.hello, self.peers.clone(), handler)?);
        Ok(())
    }

    fn send(&mut self, to: ReplicaId, message: Message) {
        if let Some(tcp) = &self.tcp {
            tcp.send(to, message);
        }
    }

    fn members_changed(&mut self, members: &[Member]) {
        self.own_address = address_of(self.hello.replica, members);
        if let Some(tcp) = &self.tcp {
            tcp.set_own_address(&self.own_address);
        }
        for member in members {
            let (id, address) = (member.id, &member.address);
            if self.peers.get(&id) == Some(address) {
                continue;
            }
            self.peers.insert(id, address.clone());
            let outcome = self.tcp.as_ref().map(|tcp| tcp.set_peer(id, address));
            if let Some(Err(error)) = outcome {
                tracing::error!(%id, %error, "no connection to a new member can be made");
                self.peers.remove(&id);
            }
        }
    }

    fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }
}

impl Drop for TcpCluster {
    fn drop(&mut self) {
        if let Some(tcp) = &self.tcp {
            tcp.stop();
        }
    }
}

fn address_of(id: ReplicaId, members: &[Member]) -> String {
    let member = members.iter().find(|member| member.id == id);
    member.map_or_else(String::new, |member| member.address.clone())
}

struct Incoming {
    inbox: Inbox,
}

impl Handler for Incoming {
    fn deliver(&self, message: Message) {
        self.inbox.deliver(message);
    }

    fn unreachable(&self, peer: ReplicaId) {
        self.inbox.unreachable(peer);
    }

    fn refused(&self, refusal: Refusal) {
        tracing::warn!(%refusal, "a connection was turned down");
    }
}
