//! The commands that talk to a server: etcdctl's arguments and output.

mod args;
mod calls;
mod endpoints;
mod json;
mod member_args;
mod member_calls;
mod print;
mod snapshot_calls;
mod txn_text;

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

pub use args::{ClientCommand, Connection, OutputFormat};
pub use member_args::{MemberCommand, TimingCommand};
pub use snapshot_calls::SnapshotCommand;
pub use txn_text::parse as parse_txn;

use crate::backup::RestoreError;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest,
};
use endpoints::{Endpoints, Kind};
use print::Printer;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The arguments contradict each other, or can't be read.
    #[error("{0}")]
    Usage(String),
    /// No endpoint answered.
    #[error("no endpoint answers: {0}; is the server running, and --endpoints right?")]
    Unreachable(String),
    /// Only the leader can do it, and it is not among the endpoints.
    #[error("no leader endpoint given at --endpoints: {0}; `status` says who leads")]
    NoLeaderGiven(String),
    /// The server refused.
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    /// A saved copy can't be used, or not be saved.
    #[error("{}: {source}", path.display())]
    Backup {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Standard input or output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ClientError {
    /// 2 for bad usage, 3 for a damaged copy, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Restore(RestoreError::Config(_)) => ExitCode::from(2),
            Self::Backup { source, .. } | Self::Restore(RestoreError::File { source, .. })
                if source.kind() == io::ErrorKind::InvalidData =>
            {
                ExitCode::from(3)
            }
            _ => ExitCode::from(1),
        }
    }
}

/// Runs one command.
///
/// # Errors
/// Says why it failed.
pub fn run(connection: &Connection, command: ClientCommand) -> Result<(), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let endpoints = Endpoints::new(connection)?;
        let mut printer = Printer::new(connection.write_out);
        match command {
            ClientCommand::Put(args) => {
                let request = args.request(true)?;
                calls::put(&endpoints, request, &mut printer).await
            }
            ClientCommand::Get(args) => {
                let request = args.request()?;
                printer.value_only = args.print_value_only;
                printer.count_only = args.count_only;
                calls::get(&endpoints, request, &mut printer).await
            }
            ClientCommand::Del(args) => calls::del(&endpoints, args.request()?, &mut printer).await,
            ClientCommand::Txn(_) => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text)?;
                calls::txn(&endpoints, txn_text::parse(&text)?, &mut printer).await
            }
            ClientCommand::Status => calls::status(&endpoints, &mut printer).await,
            ClientCommand::Members => member_calls::list(&endpoints, &mut printer).await,
            ClientCommand::Member(command) => {
                member_calls::member(&endpoints, command, &mut printer).await
            }
            ClientCommand::MoveLeader(args) => {
                member_calls::move_leader(&endpoints, args.move_leader()?, &mut printer).await
            }
            ClientCommand::Snapshot(command) => {
                snapshot_calls::snapshot(&endpoints, command, &mut printer).await
            }
            ClientCommand::Timing(command) => {
                member_calls::timing(&endpoints, command, &mut printer).await
            }
        }
    })
}
