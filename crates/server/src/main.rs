//! The program: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    little_raft_server::cli::main()
}
