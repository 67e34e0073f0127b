//! Where a replica goes on after a restart: log, snapshots and state machine brought to one account (rule 10).

use std::io;

use little_raft_core::{Base, Entry, Membership, Position, Restored, Write};

use super::pieces;
use super::sessions::Sessions;
use crate::error::StartError;
use crate::machine::{LibraryState, StateMachine};
use crate::storage::{Opened, SnapshotFiles};

/// Where to go on.
#[derive(Debug)]
pub struct Recovery {
    /// What the core begins with.
    pub restored: Restored,
    /// What the state machine has applied, and who belonged to the group then.
    pub at: Base,
    /// The sessions there.
    pub sessions: Sessions,
    /// To be appended before anything else: the log begins anew.
    pub reset: Option<Write>,
}

/// Brings `machine` to the newest state that is remembered, and the log to the machine.
///
/// A crash can fall between a received snapshot's becoming durable and the log's beginning after it. Then the
/// snapshot (or a durable machine restored from it) is ahead of the log, or contradicts it, and the log begins anew.
///
/// # Errors
/// When a snapshot that the log continues from is missing or damaged, and when the machine can't be restored.
pub fn recover<M: StateMachine>(
    machine: &mut M,
    opened: &Opened,
    files: &dyn SnapshotFiles,
) -> Result<Recovery, StartError> {
    let mut restored = opened.restored.clone();
    if M::is_witness() {
        return Ok(Recovery {
            at: restored.base.clone(),
            restored,
            sessions: Sessions::default(),
            reset: None,
        });
    }
    let own = own_base(machine, &restored.base)?;
    let (at, sessions) = match snapshot_needed(machine, &own.0, opened) {
        true => restore_newest(machine, opened, files)?.unwrap_or(own),
        false => own,
    };
    if at.position.index < restored.base.position.index {
        let (begins, ends) = (restored.base.position, at.position);
        let damage = damage_of(files, begins);
        return Err(StartError::Damaged(format!(
            "the log begins after {begins}, but the newest state is from {ends}: a snapshot is missing or damaged \
             ({damage}); remove this replica's data and add it to the group anew"
        )));
    }
    let reset = (term_at(&restored, at.position.index) != Some(at.position.term))
        .then(|| begin_anew(&mut restored, &at));
    restored.hard_state.committed = restored.hard_state.committed.max(at.position.index);
    Ok(Recovery {
        restored,
        at,
        sessions,
        reset,
    })
}

/// What is wrong with the snapshot that the log continues from. The storage has passed over it.
fn damage_of(files: &dyn SnapshotFiles, position: Position) -> String {
    let opened = files.open(position).map_err(|error| error.to_string());
    let read = opened.and_then(|mut stream| {
        io::copy(&mut stream, &mut io::sink()).map_err(|error| error.to_string())
    });
    read.err().unwrap_or_else(|| "it was not restored".into())
}

/// What the machine says it has by itself.
fn own_base<M: StateMachine>(machine: &M, log: &Base) -> Result<(Base, Sessions), StartError> {
    let begin = Base {
        position: Position::default(),
        membership: log.membership.clone(),
    };
    match machine.durable() {
        Some((position, library)) if position.index > 0 => {
            let (base, sessions) = library.read().map_err(|error| {
                StartError::Damaged(format!(
                    "the state machine kept no valid library state: {error}"
                ))
            })?;
            Ok((Base { position, ..base }, sessions))
        }
        _ => Ok((begin, Sessions::default())),
    }
}

fn snapshot_needed<M: StateMachine>(machine: &M, own: &Base, opened: &Opened) -> bool {
    let Some(newest) = opened.snapshots.last() else {
        return false;
    };
    let ahead = newest.position.index > own.position.index;
    let log = &opened.restored;
    let own_is_in_log = own.position.index >= log.base.position.index;
    let log_reaches = term_at(log, newest.position.index) == Some(newest.position.term);
    ahead && (machine.durable().is_none() || !own_is_in_log || !log_reaches)
}

/// Restores the newest snapshot; the storage has passed over damaged ones.
fn restore_newest<M: StateMachine>(
    machine: &mut M,
    opened: &Opened,
    files: &dyn SnapshotFiles,
) -> Result<Option<(Base, Sessions)>, StartError> {
    let Some(base) = opened.snapshots.last() else {
        return Ok(None);
    };
    let stream = files.open(base.position)?;
    let sessions = pieces::restore(machine, stream).map_err(StartError::Machine)?;
    machine
        .commit(base.position, &LibraryState::new(base, &sessions))
        .map_err(StartError::Machine)?;
    Ok(Some((base.clone(), sessions)))
}

fn begin_anew(restored: &mut Restored, at: &Base) -> Write {
    if at.position.term > restored.hard_state.term {
        restored.hard_state.term = at.position.term;
        restored.hard_state.vote = None;
    }
    restored.hard_state.committed = at.position.index;
    restored.base = at.clone();
    restored.last = at.position.index;
    restored.terms.clear();
    restored.memberships.clear();
    restored.tail.clear();
    Write {
        number: 0,
        hard_state: restored.hard_state,
        base: Some(Box::new(at.clone())),
        entries: [].into(),
    }
}

/// The term of the entry at `index`, if the log has it or begins after it.
pub(crate) fn term_at(restored: &Restored, index: u64) -> Option<u64> {
    if index == restored.base.position.index {
        return Some(restored.base.position.term);
    }
    if index < restored.base.position.index || index > restored.last {
        return None;
    }
    let runs = restored.terms.iter().rev();
    let mut before = runs.skip_while(|run| run.index > index);
    before.next().map(|run| run.term)
}

/// The membership in force at the end of the log.
pub(crate) fn newest_membership(log: &Restored) -> Membership {
    let newest = log.memberships.last().and_then(Entry::membership);
    newest.unwrap_or_else(|| log.base.membership.clone())
}
