//! A copy of the store in a file: saved from a running replica, looked at, and given to a new cluster.

pub mod file;
mod restore;

pub use restore::{RestoreArgs, RestoreError, Restored, restore};
