//! What a replica without a state machine is started with.

use std::convert::Infallible;
use std::io::{self, Read};

use crate::machine::{Entry, StateMachine};

/// In place of a state machine, makes a replica a witness: it votes and acknowledges like others, so that a group lives
/// on while one of its two full replicas is dead, and costs next to nothing. It keeps entries only until two full
/// replicas have them durably, and takes no snapshots. It never leads, and answers neither proposals nor reads.
///
/// The group must know: founders name their witnesses by [`Builder::witnesses`](crate::Builder::witnesses), later ones
/// are added by [`MemberChange::add_witness`](crate::MemberChange::add_witness). A member stays what it was when it
/// joined: to make a witness of a full replica, or the other way round, remove it and add another.
///
/// ```no_run
/// use little_raft::{Replica, StartError, Witness};
///
/// # fn main() -> Result<(), StartError> {
/// let witness = Replica::builder(3)
///     .members([(1, "10.0.0.1:7001"), (2, "10.0.0.2:7001"), (3, "10.0.0.3:7001")])
///     .witnesses([3])
///     .start(Witness)?;
/// # drop(witness);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness;

impl StateMachine for Witness {
    type Response = Infallible;
    type Snapshot = Vec<u8>;

    fn apply(&mut self, entry: Entry<'_>) -> Infallible {
        unreachable!("a witness applies nothing, not {}", entry.position)
    }

    fn snapshot(&self) -> io::Result<Vec<u8>> {
        Err(io::Error::other("a witness has no state"))
    }

    fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> {
        Err(io::Error::other("a witness has no state"))
    }

    fn is_witness() -> bool {
        true
    }
}
