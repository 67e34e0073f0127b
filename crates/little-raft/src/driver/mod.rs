//! The driver's logic without its threads: what the replica's threads call, and what a simulator calls in an order
//! of its own.
//!
//! An [`Engine`] joins the algorithm to those who wait for its answers. It is given [`Event`]s and gives [`Effects`];
//! a [`LogWriter`], a [`Store`] and an [`Applier`] carry the effects out, and what they return is given back to the
//! engine. Nothing here reads a clock, starts a thread or takes a lock.

mod applier;
mod changes;
mod digests;
mod effects;
mod engine;
mod limits;
mod log_writer;
mod outcome;
mod pieces;
mod reads;
mod recovery;
mod replicated;
mod sessions;
mod source;
mod start;
mod store;
mod waiters;

pub use applier::{Applied, Applier, ApplierConfig, ApplyWork, Batch, Done, Job};
pub use changes::{ChangeRequest, Changes};
pub use digests::{DigestCommand, Taken};
pub use effects::{Effects, Event};
pub use engine::{Engine, EngineConfig, Progress};
pub use log_writer::{LogOutcome, LogWriter};
pub use outcome::{Ended, Outcome, Waiter};
pub use pieces::{PieceWriter, Whole};
pub use reads::{ReadTask, Reads};
#[cfg(feature = "wal")]
pub(crate) use recovery::{newest_membership, term_at};
pub use replicated::Replicated;
pub use sessions::{SessionCommand, Sessions};
pub use source::{Label, Source};
pub use start::{Begun, Opening};
pub use store::{Store, StoreWork};
pub use waiters::{Proposal, Proposals, Terms};

#[cfg(feature = "wal")]
pub use crate::recover::{Around, recover_group_around};
pub use crate::storage::save;
