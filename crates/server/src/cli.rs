//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::ServeArgs;
use crate::serve;

/// A key-value, config and service-discovery server that etcd clients use unchanged.
#[derive(Parser, Debug)]
#[command(name = "little-raft", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Starts a replica.
    Serve(Box<ServeArgs>),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let matches = with_environment(Line::command()).get_matches();
    let line = match Line::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    match line.command {
        Command::Serve(args) => match serve::serve(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("little-raft: {error}");
                error.exit_code()
            }
        },
    }
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
