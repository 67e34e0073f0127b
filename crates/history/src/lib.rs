//! What the clients of a key-value store were told, and whether one register a key could have told them that.
//!
//! [`check`] decides linearizability: whether there is one order of all operations on a key in which each takes effect
//! at one moment between its call and its end, and each answer is what a single register would have said. An operation
//! whose outcome nobody knows may have taken effect at any moment after its call, or never.
//!
//! [`check_each`] does so for each key by itself, which is enough: linearizability is a local property (Herlihy and
//! Wing, 1990, theorem 1).

#![forbid(unsafe_code)]

mod checker;
mod operation;
mod violation;

pub use checker::{check, check_each};
pub use operation::{Call, Held, Operation};
pub use violation::Violation;
