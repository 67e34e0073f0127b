//! A group that begins with a state from elsewhere: a backup's.
//!
//! Each member's directory is made by itself, with nobody to ask. So that all become one cluster, and another than any
//! before, the cluster's id is made of token and members, as ever, and of the name of the state. The log begins after an
//! entry that never was: who joins later can't be brought up to date by the log alone, and gets the state by a snapshot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::{
    Base, EntryKind, HardState, Member, Membership, Position, ReplicaId, Write,
};
use little_raft_wal::{Founding, Options, RealDisk, Rewrite, Survivor, Wal};

use crate::builder::{cluster_id, random};
use crate::driver::Sessions;
use crate::error::RecoverError;
use crate::machine::LibraryState;
use crate::recover::entry;
use crate::wal::GROUP;

/// Where the log of a restored group begins.
const BEGIN: Position = Position::new(1, 1);

/// One member of a group that begins with a state from elsewhere; see [`restore_group`].
#[derive(Clone, Debug)]
pub struct Restoration {
    replica: ReplicaId,
    members: Vec<Member>,
    token: String,
    state: String,
    first_command: Option<Bytes>,
}

impl Restoration {
    /// Member `replica` of a group of `members`, which begins with the state that is named `state`: by its checksum, so
    /// that no other has that name.
    pub fn new(
        replica: impl Into<ReplicaId>,
        members: impl IntoIterator<Item = (impl Into<ReplicaId>, impl Into<String>)>,
        state: impl fmt::Display,
    ) -> Self {
        let members = members.into_iter();
        Self {
            replica: replica.into(),
            members: members
                .map(|(id, address)| Member::voter(id, address))
                .collect(),
            token: String::new(),
            state: state.to_string(),
            first_command: None,
        }
    }

    /// The same as [`Builder::cluster_token`](crate::Builder::cluster_token), which the replica is started with.
    /// Whoever restores one state twice with the same members gives another the second time.
    pub fn cluster_token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// What the group applies first, once, on every replica that it ever has; its time is the beginning of 1970. The
    /// same for all members.
    pub fn first_command(mut self, command: impl Into<Bytes>) -> Self {
        self.first_command = Some(command.into());
        self
    }

    /// Where the state machine must say that it is, together with the state, before its replica starts: what
    /// [`StateMachine::commit`](crate::StateMachine::commit) gets.
    pub fn machine_at(&self) -> (Position, LibraryState) {
        (BEGIN, LibraryState::new(&self.base(), &Sessions::default()))
    }

    fn base(&self) -> Base {
        Base {
            position: BEGIN,
            membership: Membership::founders(self.members.iter().cloned()),
        }
    }

    fn former_cluster(&self) -> u64 {
        cluster_id(&self.token, &self.members)
    }

    fn cluster(&self) -> u64 {
        let command = self.first_command.as_deref().unwrap_or_default();
        let command = crc32c::crc32c(command);
        let token = format!("{}, restored from {}-{command:x}", self.token, self.state);
        cluster_id(&token, &self.members)
    }

    /// The log begins after the state, in a term that nobody led.
    fn beginning(&self) -> Write {
        Write {
            number: 0,
            hard_state: hard_state(BEGIN.index),
            base: Some(Box::new(self.base())),
            entries: [].into(),
        }
    }

    /// All members have it from the start, so it is committed.
    fn first_entry(&self) -> Write {
        let (kind, payload) = match &self.first_command {
            Some(command) => (EntryKind::Command, command.clone()),
            None => (EntryKind::Noop, Bytes::new()),
        };
        let position = Position::new(BEGIN.index + 1, BEGIN.term);
        // The time is the same for all.
        let entry = entry(position, kind, 0, payload);
        Write {
            number: 0,
            hard_state: hard_state(position.index),
            base: None,
            entries: [entry].into(),
        }
    }
}

fn hard_state(committed: u64) -> HardState {
    HardState {
        term: BEGIN.term,
        vote: None,
        committed,
    }
}

/// Makes the data directory of one member of a group that begins with a state from elsewhere, and returns the new
/// cluster's id. Do so for a majority of the members at least, each with the same [`Restoration`] but for its replica;
/// then start them as any new group. The directory must not be there yet; after a failure or a crash it is to be
/// removed, and made again.
///
/// It is for durable machines: put the state into the machine's own storage, as being at
/// [`Restoration::machine_at`]. Members of whatever the state was copied from are refused, and so is who was restored
/// from another one.
///
/// # Errors
/// If there is something, or the disk refuses.
pub fn restore_group(
    dir: impl AsRef<Path>,
    restoration: &Restoration,
) -> Result<u64, RecoverError> {
    let dir = dir.as_ref().to_path_buf();
    let replica = restoration.replica;
    if !restoration.members.iter().any(|it| it.id == replica) {
        return Err(RecoverError::NotAMember { replica, dir });
    }
    if dir.exists() {
        return Err(RecoverError::Exists { dir });
    }
    make(&dir, restoration)?;
    rename(dir, restoration)
}

/// As if it had been started by those settings, which it is to be started by.
fn make(dir: &Path, restoration: &Restoration) -> Result<(), RecoverError> {
    let founding = Founding {
        cluster: restoration.former_cluster(),
        replica: restoration.replica,
        founders: restoration.members.clone(),
        incarnation: random(),
    };
    let (mut wal, _) = Wal::open(Arc::new(RealDisk), dir, Options::default(), &founding)?;
    let beginning = restoration.beginning();
    let appended = wal.append(&[(GROUP, &beginning)]);
    appended.map_err(|error| RecoverError::Storage(error.into()))?;
    Ok(())
}

/// To a cluster that nobody can take for another.
fn rename(dir: PathBuf, restoration: &Restoration) -> Result<u64, RecoverError> {
    let found = Survivor::read(Arc::new(RealDisk), &dir, Options::default())?;
    let Some(found) = found else {
        return Err(RecoverError::NoReplica { dir });
    };
    let cluster = restoration.cluster();
    found.rewrite(Rewrite {
        cluster,
        founders: restoration.members.clone(),
        writes: vec![(GROUP, restoration.first_entry())],
    })?;
    Ok(cluster)
}
