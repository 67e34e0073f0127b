//! How far revisions rise when a store goes on in another cluster: clients that remember one of the cluster before must
//! neither see it again for something else, nor miss that anything was lost (P59).

use bytes::Bytes;
use clap::Args;

use crate::proto::command::RaiseRevision;
use crate::proto::command::command::Kind;
use crate::store::encode;

/// Of the commands that let a store go on in another cluster; the flag is etcdutl's.
#[derive(Args, Clone, Copy, Debug)]
pub struct Bump {
    /// How far revisions rise, so that none that a client remembers comes again: more than there were writes since. All
    /// of before count as compacted.
    #[arg(
        long,
        default_value_t = 1_000_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000_000)
    )]
    pub bump_revision: u64,
}

impl Bump {
    /// What the log of the new cluster begins with.
    pub fn command(self) -> Bytes {
        let by = self.bump_revision;
        encode(Kind::RaiseRevision(RaiseRevision { by }))
    }
}
