//! A saved copy becomes the data directory of one member of a new cluster.
//!
//! What the old cluster has acknowledged since it was saved is not in it. So the new one is another cluster, its revisions
//! rise above all that the old one may have shown, and none of before is read any more (P59). The directory is made under
//! another name and gets its own when it is whole: a crash leaves none, or all of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use little_raft::core::{Position, ReplicaId};
use little_raft::{LibraryState, Restoration, StateMachine, restore_group};

use super::file;
use crate::bump::Bump;
use crate::config::{ConfigError, MemberArgs};
use crate::data_dir::{log_dir, store_file};
use crate::store::{Store, StoreError};

/// Of `snapshot restore`; the flags are etcdutl's.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The saved copy.
    pub file: PathBuf,
    /// Who it will be; the same for all members but for name and peer URL, and as `serve` gets it.
    #[command(flatten)]
    pub member: MemberArgs,
    /// The data directory to be made [default: NAME.little-raft]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// How far revisions rise.
    #[command(flatten)]
    pub bump: Bump,
    /// Accepted for etcdutl's sake: it is always so.
    #[arg(long)]
    pub mark_compacted: bool,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The settings can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The copy can't be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// There is something already.
    #[error("{} exists already; name a data directory that is to be made", .0.display())]
    Exists(PathBuf),
    /// The disk refuses.
    #[error("can't make {}: {source}", path.display())]
    DataDir {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store can't be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log can't be made.
    #[error(transparent)]
    Group(#[from] little_raft::RecoverError),
}

/// A member that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its id.
    pub id: ReplicaId,
    /// The new cluster.
    pub cluster: u64,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The revision that the new cluster begins with.
    pub revision: i64,
}

/// Makes the data directory.
///
/// # Errors
/// If it is there, or can't be made of this copy by these settings. Then there is none.
pub fn restore(args: &RestoreArgs) -> Result<Restored, RestoreError> {
    let (own, founders) = args.member.founders()?;
    let default_dir = || args.member.default_data_dir();
    let data_dir = args.data_dir.clone().unwrap_or_else(default_dir);
    let of_file = |source| RestoreError::File {
        path: args.file.clone(),
        source,
    };
    let summary = file::check(&args.file).map_err(of_file)?.summary;
    let founders = founders.into_iter().map(|it| (it.id, it.peer_address));
    let state = format!("{:x}-{:x}", summary.revision, summary.hash);
    let restoration = Restoration::new(own.id, founders, state)
        .cluster_token(&args.member.initial_cluster_token)
        .first_command(args.bump.command());
    let unfinished = begin(&data_dir)?;
    let cluster = restore_group(log_dir(&unfinished), &restoration)?;
    let mut store = Store::open(&store_file(&unfinished))?;
    fill(&mut store, &args.file, restoration.machine_at()).map_err(of_file)?;
    drop(store);
    finish(&unfinished, &data_dir)?;
    Ok(Restored {
        id: own.id,
        cluster,
        data_dir,
        revision: summary
            .revision
            .saturating_add_unsigned(args.bump.bump_revision),
    })
}

/// What an earlier attempt has left goes.
fn begin(data_dir: &Path) -> Result<PathBuf, RestoreError> {
    if data_dir.exists() {
        return Err(RestoreError::Exists(data_dir.into()));
    }
    let mut name = data_dir.as_os_str().to_owned();
    name.push(".restoring");
    let unfinished = PathBuf::from(name);
    let made = match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&unfinished),
    };
    match made {
        Ok(()) => Ok(unfinished),
        Err(source) => Err(RestoreError::DataDir {
            path: unfinished,
            source,
        }),
    }
}

fn fill(store: &mut Store, path: &Path, at: (Position, LibraryState)) -> io::Result<()> {
    store.restore(&mut file::open(path)?)?;
    store.commit(at.0, &at.1)
}

/// All that is in it has been flushed by who wrote it; the names have not.
fn finish(unfinished: &Path, data_dir: &Path) -> Result<(), RestoreError> {
    let flush = |dir: &Path| File::open(dir)?.sync_all();
    let rename = || {
        flush(unfinished)?;
        fs::rename(unfinished, data_dir)?;
        let parent = data_dir.parent().filter(|it| !it.as_os_str().is_empty());
        flush(parent.unwrap_or(Path::new(".")))
    };
    rename().map_err(|source| RestoreError::DataDir {
        path: data_dir.into(),
        source,
    })
}
