//! What the store answers when it can't do what was asked, in etcd's words: clients match code and text.

use std::path::PathBuf;

/// A request refused. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No key where one is needed.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// A put wants to keep what isn't there, or an operation of a transaction is empty.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// No such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A transaction with more operations than allowed.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A transaction that could write a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// An unknown sort order or target.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// A command larger than the log takes.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// A read or compaction below what was compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// A read or compaction of what hasn't happened.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The quota is used up.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// Stored data doesn't match its checksum.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
}

/// The store can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error(
        "the store {path} is in use by another process; stop that one or use another --data-dir"
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// What is on disk is not what was written.
    #[error(
        "the store {path} is damaged: {what}; remove this replica's data directory and let it catch up from the others, \
         or restore a backup"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Written by a newer version.
    #[error(
        "the store {path} has format {found}, and this version reads up to {known}; start a newer version"
    )]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// The disk or the operating system refused.
    #[error("can't {action} the store {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        source: Box<redb::Error>,
    },
}
