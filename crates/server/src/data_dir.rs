//! What is in a data directory: the log, and beside it the store of a full replica or the mark of a witness.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "This directory is a witness's: little-raft serve --witness\n";

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// It belongs to a witness.
    #[error(
        "{} is a witness's, without data: start it with --witness; to make it a full replica, remove the member, empty \
         the directory and add it anew", .0.display()
    )]
    IsWitness(PathBuf),
    /// It belongs to a full replica.
    #[error(
        "{} is a full replica's, with data: start it without --witness; to make it a witness, remove the member, empty \
         the directory and add it anew", .0.display()
    )]
    HasData(PathBuf),
    /// The system refuses.
    #[error("can't use the data directory {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Where a replica keeps its log.
pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("raft")
}

/// Where it keeps its data.
pub(crate) fn store_file(data_dir: &Path) -> PathBuf {
    data_dir.join("store.redb")
}

/// Makes the directory, or finds that it is of the same kind. The log knows that as well, but only once it has a
/// member list; and by then there would be a store.
pub(crate) fn claim(data_dir: &Path, is_witness: bool) -> Result<(), DirError> {
    let failed = |source| DirError::Io {
        path: data_dir.into(),
        source,
    };
    fs::create_dir_all(data_dir).map_err(failed)?;
    let mark = data_dir.join("witness");
    match is_witness {
        true if store_file(data_dir).exists() => Err(DirError::HasData(data_dir.into())),
        true => set(&mark).map_err(failed),
        false if mark.exists() => Err(DirError::IsWitness(data_dir.into())),
        false => Ok(()),
    }
}

fn set(mark: &Path) -> io::Result<()> {
    if mark.exists() {
        return Ok(());
    }
    let mut file = File::create(mark)?;
    file.write_all(MARK.as_bytes())?;
    file.sync_all()
}
