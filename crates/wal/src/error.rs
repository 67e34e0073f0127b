//! What can go wrong, to what, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use little_raft_core::ReplicaId;

/// A place in a file that is not what was flushed there (rule 3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at byte {offset}: {what}; this replica can't be trusted with its votes and entries any more: \
     restore the directory from a copy, or empty it and add the replica to the group anew", file.display()
)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    pub(crate) fn new(file: impl Into<PathBuf>, offset: u64, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            offset,
            what: what.into(),
        }
    }
}

/// Why a log was not opened. Nothing in the directory was changed that a later start could miss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A living process has it.
    #[error(
        "data directory {} is in use by another running process; stop that one, or choose another directory",
        dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// This user may not write there.
    #[error("{} can't be written by this user ({source}); correct its owner or permissions", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer version wrote it.
    #[error(
        "{} has format version {found}, and this program knows versions up to {known}; start the newer program \
         that wrote it", path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It belongs to another cluster.
    #[error(
        "data directory {} belongs to cluster {recorded:016x}, not to {given:016x}; check the cluster's token, or \
         choose another directory", dir.display()
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster it belongs to.
        recorded: u64,
        /// The cluster asked for.
        given: u64,
    },
    /// It belongs to another replica.
    #[error(
        "data directory {} belongs to replica {recorded}, not to {given}; check the replica's name, or choose \
         another directory", dir.display()
    )]
    OtherReplica {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        recorded: ReplicaId,
        /// Who asked.
        given: ReplicaId,
    },
    /// The group began with other members.
    #[error(
        "data directory {} was founded by {recorded}, but {given} was given; give the founders again (later changes \
         of members are in the log), or choose another directory", dir.display()
    )]
    OtherFounders {
        /// The directory.
        dir: PathBuf,
        /// The founders recorded in it, as `id=address` with commas.
        recorded: String,
        /// The founders given.
        given: String,
    },
    /// Something that was flushed is not there any more.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The disk is too full to start.
    #[error("no space left to write {} ({source}); make room and start again", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed.
    #[error("{} could not be read or written: {source}; check the disk and start again", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Unwritable { path, source }
            }
            _ if crate::disk::is_full(&source) => Self::NoSpace { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No room, and nothing was written; the same call may be made again when there is space.
    #[error("no space left in {} for {bytes} bytes of log; nothing was written, make room", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// How many bytes were to be written.
        bytes: u64,
    },
    /// More than one call may hold; nothing was written.
    #[error(
        "{bytes} bytes are more than one append may hold ({limit}); nothing was written, append less at once"
    )]
    TooLarge {
        /// The size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// An entry's payload is not the one its checksum was made for; nothing was written.
    #[error(
        "entry {index} of group {group} does not match its checksum; nothing was written: this machine's memory, or \
         the program that proposed it, is at fault"
    )]
    BadEntry {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
    },
    /// A write or flush failed. The log is closed for good: after a failed flush nobody knows what the disk holds, so
    /// it is never tried again (rule 2). Start anew from what is there.
    #[error("writing {} failed: {source}; this replica must stop, check the disk and start it again", file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or flush failed.
    #[error("the log was closed by an earlier failure: {reason}")]
    Closed {
        /// The earlier failure.
        reason: String,
    },
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// They are below the log's beginning: only a snapshot has them.
    #[error(
        "entry {first} of group {group} is covered by the snapshot at {base}; send that instead"
    )]
    Compacted {
        /// The group.
        group: u64,
        /// The first index asked for.
        first: u64,
        /// The base's index.
        base: u64,
    },
    /// What is on the disk is not what was flushed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The disk failed.
    #[error("{} could not be read: {source}; check the disk", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
