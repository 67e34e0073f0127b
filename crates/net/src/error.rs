use std::fmt;
use std::io;

use little_raft_core::{DecodeError, ReplicaId};

/// Why an endpoint can't listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "can't listen on {address}: the port is in use; stop the process that has it, or choose another address"
    )]
    InUse {
        /// What was asked for.
        address: String,
    },
    /// The address can't be understood or resolved, or does not belong to this machine.
    #[error(
        "can't listen on {address}: {source}; give one of this machine's addresses as host:port"
    )]
    Address {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Who turned whom down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A connection that somebody made to us.
    Accepting,
    /// A connection that we made.
    Dialing,
}

/// A connection or message that was turned down, for the log. Repeated ones are reported every ten seconds only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who made the connection.
    pub side: Side,
    /// The other side, if it said so or we meant to reach it.
    pub peer: Option<ReplicaId>,
    /// Its address.
    pub address: String,
    /// What was wrong.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.side {
            Side::Accepting => "from",
            Side::Dialing => "to",
        };
        write!(f, "connection {direction} ")?;
        if let Some(peer) = self.peer {
            write!(f, "replica {peer} at ")?;
        }
        write!(f, "{}: {}", self.address, self.reason)
    }
}

/// What was wrong with a connection or message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The other side speaks another wire version.
    #[error("it speaks wire version {theirs}, this replica {ours}; run matching releases")]
    OtherVersion {
        /// What we speak.
        ours: u16,
        /// What it speaks.
        theirs: u16,
    },
    /// The other side belongs to another cluster.
    #[error(
        "it belongs to cluster {theirs:016x}, this replica to {ours:016x}; compare both sides' founders and token"
    )]
    OtherCluster {
        /// Our cluster.
        ours: u64,
        /// Its cluster.
        theirs: u64,
    },
    /// The dialer meant another replica than the one at this address.
    #[error(
        "replica {wanted} was expected at this address, but replica {found} is; correct the address"
    )]
    OtherReplica {
        /// Whom the dialer wanted.
        wanted: ReplicaId,
        /// Who is there.
        found: ReplicaId,
    },
    /// The dialer is not among the peers.
    #[error("replica {replica} is not a member here; add it first")]
    NotMember {
        /// Who dialed.
        replica: ReplicaId,
    },
    /// The other side turned us down.
    #[error("it refused us: {0}")]
    ByPeer(String),
    /// The other side does not speak this protocol.
    #[error("what it says is not a Little Raft greeting")]
    Foreign,
    /// The handshake took too long or ended early.
    #[error("the handshake was not completed in time")]
    Unfinished,
    /// A frame is not what it should be.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
    /// A frame's message is not what it should be.
    #[error("damaged message: {0}")]
    Undecodable(DecodeError),
    /// A frame announces more than the limit.
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooBig {
        /// How large it is.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A frame that had begun came too slowly.
    #[error("a message that had begun did not arrive in time")]
    TooSlow,
    /// A message names other sides than the handshake did.
    #[error("a message from replica {from} to replica {to} came over a connection of others")]
    Astray {
        /// Whom the message names as speaker.
        from: ReplicaId,
        /// Whom the message is for.
        to: ReplicaId,
    },
}
