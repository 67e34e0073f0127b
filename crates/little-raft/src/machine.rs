//! What is replicated: the trait that a user implements.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use little_raft_core::{Codec, Position};

/// One committed command on its way into a [`StateMachine`].
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where it stands in the log.
    pub position: Position,
    /// The command, as it was proposed.
    pub command: &'a Bytes,
    pub(crate) time: u64,
}

impl<'a> Entry<'a> {
    /// A command as the log would hand it over, for tests of a state machine; `time` in nanoseconds since 1970.
    pub fn new(position: Position, time: u64, command: &'a Bytes) -> Self {
        Self {
            position,
            command,
            time,
        }
    }

    /// When the leader appended it, by the leader's wall clock; never goes back along the log, and is the same on
    /// every replica. Use this where you would have asked a clock.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.time)
    }
}

/// What is replicated.
///
/// Every replica applies the same commands in the same order, so `apply` must be deterministic: the same state and
/// command give the same result and the same new state. No clocks (use [`Entry::time`]), no randomness, no iteration
/// over hash maps.
///
/// A machine in memory implements the first three methods. It is rebuilt from the newest snapshot and the log when the
/// replica starts. A machine with durable storage of its own implements [`commit`](Self::commit) and
/// [`durable`](Self::durable) as well, and continues where it was.
pub trait StateMachine: Send + 'static {
    /// What a command answers.
    type Response: Send + 'static;
    /// See [`Snapshot`].
    type Snapshot: Snapshot;

    /// Applies one committed command.
    fn apply(&mut self, entry: Entry<'_>) -> Self::Response;

    /// An owned, consistent view of the state as it is now. Called between two commands, so it should be cheap
    /// (a clone of an `Arc`, a read transaction); it is written out in the background.
    ///
    /// # Errors
    /// An error is reported and no snapshot taken; the replica goes on.
    fn snapshot(&self) -> io::Result<Self::Snapshot>;

    /// Replaces the whole state by what [`Snapshot::write_to`] wrote, here or on another replica.
    ///
    /// # Errors
    /// An error stops the replica. The state must then be the old one or be refused at the next start.
    fn restore(&mut self, snapshot: &mut dyn io::Read) -> io::Result<()>;

    /// For durable machines: makes all that was applied (or restored) up to `upto` take effect atomically, together
    /// with `upto` and `library`. Called at the end of each batch; responses are released after it. It need not
    /// flush: what it stored may be lost in a crash, but only as a whole, from the end, and visible in
    /// [`durable`](Self::durable).
    ///
    /// # Errors
    /// An error stops the replica.
    fn commit(&mut self, upto: Position, library: &LibraryState) -> io::Result<()> {
        let _ = (upto, library);
        Ok(())
    }

    /// For durable machines: what survives a crash at this moment, as handed to [`commit`](Self::commit). The log is
    /// kept from there on. `None` for a machine in memory.
    fn durable(&self) -> Option<(Position, LibraryState)> {
        None
    }

    /// How responses become bytes and back, the same on all replicas. Needed for [sessions](crate::Session), which answer
    /// a retry with the first attempt's response, on whatever replica and after whatever restart.
    fn response_codec() -> Option<ResponseCodec<Self::Response>> {
        None
    }

    /// Whether it is no state machine at all, but stands for one on a [witness](crate::Witness).
    fn is_witness() -> bool {
        false
    }

    /// A digest of the whole state, the same on all replicas at one index; best kept up to date as commands are applied,
    /// since it is taken between two commands. Replicas compare theirs
    /// [now and then](crate::Builder::digest_interval), and who differs from a majority stops, with
    /// [`StopReason::Diverged`](crate::StopReason::Diverged).
    fn digest(&self) -> Option<u64> {
        None
    }
}

/// How a response becomes bytes and back.
///
/// ```
/// # use little_raft::{Bytes, ResponseCodec};
/// let numbers: ResponseCodec<u64> = ResponseCodec::new();
/// let nothing: ResponseCodec<()> = ResponseCodec::with(|()| Bytes::new(), |_| Some(()));
/// # let _ = (numbers, nothing);
/// ```
pub struct ResponseCodec<R> {
    pub(crate) encode: fn(&R) -> Bytes,
    pub(crate) decode: fn(Bytes) -> Option<R>,
}

impl<R> ResponseCodec<R> {
    /// Your own two functions. `decode` gives back what `encode` was given, or `None` for bytes that it never made.
    pub const fn with(encode: fn(&R) -> Bytes, decode: fn(Bytes) -> Option<R>) -> Self {
        Self { encode, decode }
    }
}

impl<R: Codec> ResponseCodec<R> {
    /// For responses that the library knows how to encode: numbers, texts, bytes, and options, results and lists of
    /// them; or yours, if you implement [`Codec`] for it.
    pub const fn new() -> Self {
        Self::with(R::to_bytes, |bytes| R::from_bytes(bytes).ok())
    }
}

impl<R: Codec> Default for ResponseCodec<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// An owned, consistent view of a state machine, written out while the machine goes on.
pub trait Snapshot: Send + 'static {
    /// Writes the whole state, in a form that [`StateMachine::restore`] reads. It may be called again: to go on with a
    /// follower where its connection broke. A view that then writes other bytes costs a transfer from the beginning.
    ///
    /// # Errors
    /// Those of `out` are passed on, and end the snapshot.
    fn write_to(&mut self, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Bytes are their own view.
impl Snapshot for Vec<u8> {
    fn write_to(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(self)
    }
}

/// What the library must find again next to a durable machine's state (who belongs to the group at that point, and what
/// was answered under sessions); opaque to the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryState(pub Bytes);
