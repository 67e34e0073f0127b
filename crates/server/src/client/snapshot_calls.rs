//! Copies of the store: saved, looked at, restored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tonic::{Response, Streaming};

use super::{ClientError, Endpoints, Kind, Printer};
use crate::backup::{RestoreArgs, file, restore};
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};

/// Of `snapshot`.
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Saves a copy of what one replica has, while it runs.
    Save(FileArgs),
    /// Checks a saved copy, and says what it is.
    Status(FileArgs),
    /// Makes a data directory that begins with a saved copy; once for each member of a new cluster, on its machine.
    Restore(Box<RestoreArgs>),
}

/// Which copy.
#[derive(Args, Clone, Debug)]
pub struct FileArgs {
    file: PathBuf,
}

pub async fn snapshot(
    endpoints: &Endpoints,
    command: SnapshotCommand,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    match command {
        SnapshotCommand::Save(args) => {
            save(endpoints, &args.file).await?;
            printer.snapshot_saved(&args.file)
        }
        SnapshotCommand::Status(args) => {
            let content = file::check(&args.file).map_err(|error| of(&args.file, error))?;
            printer.snapshot(&content)
        }
        SnapshotCommand::Restore(args) => printer.restored(&restore(&args)?),
    }
}

fn of(path: &Path, source: io::Error) -> ClientError {
    let path = path.into();
    ClientError::Backup { path, source }
}

/// Under another name until it is whole and has been checked.
async fn save(endpoints: &Endpoints, path: &Path) -> Result<(), ClientError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut out = create(&part).map_err(|error| of(&part, error))?;
    let call = |channel| async move {
        let mut client = MaintenanceClient::new(channel);
        client
            .snapshot(SnapshotRequest {})
            .await
            .map(Response::into_inner)
    };
    let pieces = endpoints.first(Kind::Read, call).await;
    let saved = match pieces {
        Ok(mut pieces) => receive(endpoints, &mut pieces, &mut out, &part).await,
        Err(error) => Err(error),
    };
    let finish = || {
        out.sync_all()?;
        file::check(&part)?;
        fs::rename(&part, path)?;
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    let saved = saved.and_then(|()| finish().map_err(|error| of(path, error)));
    if saved.is_err() {
        // What is left of it is of no use; the first error says what went wrong.
        drop(fs::remove_file(&part));
    }
    saved
}

/// For nobody else: all that the store has is in it.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

async fn receive(
    endpoints: &Endpoints,
    pieces: &mut Streaming<SnapshotResponse>,
    out: &mut File,
    path: &Path,
) -> Result<(), ClientError> {
    while let Some(piece) = endpoints.timed(pieces.message()).await? {
        let written = out.write_all(&piece.blob);
        written.map_err(|error| of(path, error))?;
    }
    Ok(())
}
