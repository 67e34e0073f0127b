//! Why the demo ended early.

use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// Its folder can't be used.
    #[error("can't use {path}: {source}; choose another with --dir")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused something.
    #[error("can't {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A replica ended that should run.
    #[error("replica {replica} ended by itself ({status}): {last_words}; {log} has all it said")]
    Ended {
        /// Its number.
        replica: usize,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        last_words: String,
        /// Its log.
        log: PathBuf,
    },
    /// Something didn't happen.
    #[error("waited {seconds} s for {what} in vain; {dir} has what the replicas said")]
    TooLong {
        /// What should have happened.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
        /// Where the logs are.
        dir: PathBuf,
    },
    /// A promise was broken.
    #[error("{what}; {dir} has the data and what the replicas said")]
    Broken {
        /// Which.
        what: String,
        /// Where the data is.
        dir: PathBuf,
    },
    /// Somebody ended it.
    #[error("the demo was interrupted")]
    Interrupted,
}

impl DemoError {
    /// As a shell has it for an interrupted program, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::from(130),
            _ => ExitCode::from(1),
        }
    }
}
