//! One decoder each, and what it must bear.

mod files;
mod messages;
mod replica;
mod requests;
mod settings;
mod store;
mod wire;

use arbtest::arbitrary::{Result, Unstructured};

/// A property: it panics if it doesn't hold.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&mut Unstructured<'_>) -> Result<()>,
}

pub const ALL: &[Target] = &[
    Target {
        name: "messages",
        run: messages::run,
    },
    Target {
        name: "frames",
        run: wire::run_frames,
    },
    Target {
        name: "handshake",
        run: wire::run_handshake,
    },
    Target {
        name: "replica",
        run: replica::run,
    },
    Target {
        name: "log",
        run: files::run_log,
    },
    Target {
        name: "snapshots",
        run: files::run_snapshots,
    },
    Target {
        name: "store-snapshots",
        run: store::run_snapshots,
    },
    Target {
        name: "store-file",
        run: store::run_file,
    },
    Target {
        name: "requests",
        run: requests::run,
    },
    Target {
        name: "settings",
        run: settings::run,
    },
];
