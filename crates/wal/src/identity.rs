//! Whose directory this is: written once when it is made, and again at each start for the boot number.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use little_raft_core::{Codec, Identity, Member, ReplicaId};

use crate::FORMAT_VERSION;
use crate::disk::{Disk, replace};
use crate::error::{Damage, OpenError};
use crate::plan::Former;
use crate::sealed::{Sealed, seal};

const NAME: &str = "identity";
const MAGIC: &[u8; 8] = b"LRIDENT\n";
const BYTES_MAX: usize = 1 << 20;

/// Who opens a directory: recorded in a new one, compared with what is recorded in an old one.
#[derive(Clone, Debug)]
pub struct Founding {
    /// Which cluster.
    pub cluster: u64,
    /// Which replica.
    pub replica: ReplicaId,
    /// The members the group begins with; none means "whatever is recorded".
    pub founders: Vec<Member>,
    /// The incarnation that a new directory gets, see [`fresh_incarnation`]; an old one keeps its own.
    pub incarnation: u64,
}

/// A number to be the identity of a new data directory (rule 13): random, never zero.
pub fn fresh_incarnation() -> u64 {
    // The standard library seeds each `RandomState` from the system's randomness.
    RandomState::new().build_hasher().finish().max(1)
}

impl Founding {
    /// The identity of a directory that is being made: its boot number 0 says that it is not finished.
    pub(crate) fn unfinished(&self) -> Identity {
        Identity {
            cluster: self.cluster,
            replica: self.replica,
            incarnation: self.incarnation.max(1),
            boot: 0,
            founders: by_id(&self.founders),
        }
    }

    /// Says what explains the difference best: where ids are made from the cluster's token, as the server does, another
    /// token changes all of them.
    ///
    /// A directory whose group was recovered has a cluster that nobody can derive from founders. Who opens it with its
    /// settings of before, or as the one that is left, means it all the same: what is recorded decides.
    pub(crate) fn check(
        &self,
        recorded: &Identity,
        former: Option<&Former>,
        dir: &Path,
    ) -> Result<(), OpenError> {
        let dir = PathBuf::from(dir);
        if former.is_some_and(|former| self.means(recorded, former)) {
            return Ok(());
        }
        let same_cluster = recorded.cluster == self.cluster;
        let same_replica = recorded.replica == self.replica;
        let (ours, given) = (said(&recorded.founders), said(&self.founders));
        let before = former.map(|former| (former.cluster, said(&former.founders)));
        let by_former = |(_, before): &&(u64, String)| *before == given && same_replica;
        if let Some((recorded, _)) = before.as_ref().filter(by_former) {
            let (recorded, given) = (*recorded, self.cluster);
            return Err(OpenError::OtherCluster {
                dir,
                recorded,
                given,
            });
        }
        if same_replica && !given.is_empty() && ours != given {
            let recorded = match before {
                Some((_, before)) => {
                    format!("{ours} when it was recovered, and by {before} before")
                }
                None => ours,
            };
            return Err(OpenError::OtherFounders {
                dir,
                recorded,
                given,
            });
        }
        if !same_cluster {
            let (recorded, given) = (recorded.cluster, self.cluster);
            return Err(OpenError::OtherCluster {
                dir,
                recorded,
                given,
            });
        }
        if !same_replica {
            let (recorded, given) = (recorded.replica, self.replica);
            return Err(OpenError::OtherReplica {
                dir,
                recorded,
                given,
            });
        }
        Ok(())
    }

    fn means(&self, recorded: &Identity, former: &Former) -> bool {
        let given = said(&self.founders);
        let as_before = self.cluster == former.cluster && given == said(&former.founders);
        let as_left = !given.is_empty() && given == said(&recorded.founders);
        recorded.replica == self.replica && (as_before || as_left)
    }
}

fn by_id(members: &[Member]) -> Vec<Member> {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|member| member.id);
    sorted
}

fn said(members: &[Member]) -> String {
    let named = by_id(members)
        .into_iter()
        .map(|member| format!("{}={}", member.id, member.address));
    named.collect::<Vec<_>>().join(",")
}

/// The recorded identity; nothing if the directory has none.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = dir.join(NAME);
    let stranger = "it does not begin like an identity";
    let Some(sealed) = Sealed::read(disk, &path, MAGIC, BYTES_MAX, stranger)? else {
        return Ok(None);
    };
    if sealed.version > FORMAT_VERSION {
        return Err(newer(&path, sealed.version));
    }
    match Identity::from_bytes(sealed.content(&path)?) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => Err(Damage::new(&path, 0, error.to_string()).into()),
    }
}

pub(crate) fn newer(path: &Path, found: u32) -> OpenError {
    OpenError::NewerFormat {
        path: path.to_path_buf(),
        found,
        known: FORMAT_VERSION,
    }
}

/// Makes `identity` the directory's, durably.
pub(crate) fn store(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    let bytes = seal(MAGIC, &identity.to_bytes());
    replace(disk, dir, NAME, &bytes).map_err(|error| OpenError::io(&dir.join(NAME), error))
}
