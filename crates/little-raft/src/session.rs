//! Sessions, as a client sees them: names for its commands, so that a retry is known as one (Raft, section 8; thesis,
//! section 6.3).

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use little_raft_core::{Codec, DecodeError};

/// A client's side of a session: gives each command a number, and remembers which are open.
///
/// The group keeps the response of every command proposed under a session, so that a command whose outcome was
/// [unknown](crate::ProposeError::Unknown) can be proposed again, on any replica, and is applied once: a retry is
/// answered with the first attempt's response. The state machine must say how its responses are kept:
/// [`response_codec`](crate::StateMachine::response_codec).
///
/// The group keeps 4,096 sessions, and of each the responses of the newest 1,024 commands, up to 1 MiB in all; beyond
/// that the session that was used least recently is forgotten, on all replicas at the same index, and who uses it
/// hears [`SessionExpired`](crate::ProposeError::SessionExpired).
///
/// ```
/// # use std::io::{self, Read};
/// # use little_raft::{Entry, MemoryCluster, MemoryStorage, ProposeOptions, Replica, ResponseCodec, StateMachine};
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Response = u64;
///     type Snapshot = Vec<u8>;
/// #   fn snapshot(&self) -> io::Result<Vec<u8>> { Ok(self.0.to_le_bytes().to_vec()) }
/// #   fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> { Ok(()) }
///     fn apply(&mut self, entry: Entry<'_>) -> u64 {
///         self.0 += entry.command.len() as u64;
///         self.0
///     }
///     fn response_codec() -> Option<ResponseCodec<u64>> {
///         Some(ResponseCodec::new())
///     }
///     // snapshot and restore as ever
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let replica = Replica::builder(1).members([(1, "")]).storage(MemoryStorage::new())
/// #     .cluster(MemoryCluster::new().link(1)).start(Counter::default())?;
/// let mut session = replica.register_session().wait()?;
/// let once = session.once();
/// let total = loop {
///     match replica.propose_with("+", ProposeOptions::once(once)).wait() {
///         Err(error) if error.is_unknown() => continue, // the same name: it can't count twice
///         outcome => break outcome?,
///     }
/// };
/// session.settle(once);
/// assert_eq!(total, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    id: u64,
    next: u64,
    open: BTreeSet<u64>,
}

impl Session {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            next: 1,
            open: BTreeSet::new(),
        }
    }

    /// Its name: the index at which it was registered, so that no other session of the group ever has it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A name for a new command. Give it with every attempt at that command, and with no other.
    pub fn once(&mut self) -> Once {
        let number = self.next;
        self.next += 1;
        self.open.insert(number);
        Once {
            session: self.id,
            number,
            settled: *self.open.first().expect("one was put in"),
        }
    }

    /// The outcome of this command is known, and nobody will try it again: the group may forget its response.
    pub fn settle(&mut self, once: Once) {
        self.open.remove(&once.number);
    }
}

/// Names one command of a [`Session`], so that it is applied once. Plain numbers: a client that must not forget across
/// its own restarts keeps them with the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Once {
    /// Which session.
    pub session: u64,
    /// Which command of it.
    pub number: u64,
    /// The outcomes of all commands with lower numbers are known to the client.
    pub settled: u64,
}

impl Codec for Once {
    fn encode(&self, out: &mut BytesMut) {
        self.session.encode(out);
        self.number.encode(out);
        self.settled.encode(out);
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            session: Codec::decode(input)?,
            number: Codec::decode(input)?,
            settled: Codec::decode(input)?,
        })
    }
}
