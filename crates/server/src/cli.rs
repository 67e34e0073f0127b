//! The command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{self, ClientCommand, Connection};
use crate::config::ServeArgs;
use crate::demo::{self, DemoArgs};
use crate::recover::{self, RecoverArgs};
use crate::serve;

/// A key-value, config and service-discovery server that etcd clients use unchanged.
#[derive(Parser, Debug)]
#[command(name = "little-raft", version)]
struct Line {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Starts a replica.
    Serve(Box<ServeArgs>),
    /// Makes a stopped replica, whose cluster has lost its majority for good, the only member of a new cluster.
    Recover(RecoverArgs),
    /// Starts three replicas and plays a story on them: elect, write, read, kill, restart, prove.
    Demo(DemoArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let matches = with_environment(Line::command()).get_matches();
    let line = match Line::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    let (result, code) = match line.command {
        Command::Serve(args) => {
            let result = serve::serve(&args);
            let code = result
                .as_ref()
                .map_or_else(serve::ServeError::exit_code, |()| ExitCode::SUCCESS);
            (result.map_err(|error| error.to_string()), code)
        }
        Command::Recover(args) => {
            let result = recover::run(&args);
            let code = result
                .as_ref()
                .map_or_else(recover::RecoverError::exit_code, |()| ExitCode::SUCCESS);
            (result.map_err(|error| error.to_string()), code)
        }
        Command::Demo(args) => {
            let result = demo::run(&args);
            let code = result
                .as_ref()
                .map_or_else(demo::DemoError::exit_code, |()| ExitCode::SUCCESS);
            (result.map_err(|error| error.to_string()), code)
        }
        Command::Client(command) => {
            let result = client::run(&line.connection, command);
            let code = result
                .as_ref()
                .map_or_else(client::ClientError::exit_code, |()| ExitCode::SUCCESS);
            (result.map_err(|error| error.to_string()), code)
        }
    };
    if let Err(text) = result {
        // Where nobody can read it, the exit code still tells.
        let _ = writeln!(io::stderr(), "little-raft: {text}");
    }
    code
}

/// Every flag of `serve` is also read from the environment: `LITTLE_RAFT_NAME`, or etcd's `ETCD_NAME` if ours isn't
/// set.
fn with_environment(command: clap::Command) -> clap::Command {
    command.mut_subcommand("serve", |serve| {
        serve.mut_args(|arg| {
            let Some(long) = arg.get_long() else {
                return arg;
            };
            let name = long.to_uppercase().replace('-', "_");
            let (ours, etcds) = (format!("LITTLE_RAFT_{name}"), format!("ETCD_{name}"));
            let chosen = if std::env::var_os(&ours).is_none() && std::env::var_os(&etcds).is_some()
            {
                etcds
            } else {
                ours
            };
            arg.env(chosen)
        })
    })
}
