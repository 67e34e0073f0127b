//! What a replica is made of, from its storage and its state machine: the same for threads and for a simulator.

use std::sync::Arc;

use little_raft_core::{Config, Identity, Now};

use super::applier::{Applier, ApplierConfig};
use super::engine::{Engine, EngineConfig};
use super::log_writer::LogWriter;
use super::recovery::{Recovery, newest_membership, recover};
use super::replicated::Replicated;
use super::store::Store;
use crate::error::StartError;
use crate::machine::StateMachine;
use crate::storage::{Founding, Opened, SnapshotFiles, Storage};

/// A replica whose storage is open, and whose machine is at what is remembered.
pub struct Opening<M> {
    storage: Box<dyn Storage>,
    snapshots: Arc<dyn SnapshotFiles>,
    opened: Opened,
    recovery: Recovery,
    machine: M,
}

/// A replica's parts.
pub struct Begun<M: StateMachine> {
    /// The algorithm and who waits for it.
    pub engine: Engine<M>,
    /// Who appends to the log.
    pub log: LogWriter,
    /// Who reads entries and stores pieces of snapshots.
    pub store: Store,
    /// Who applies.
    pub applier: Applier<M>,
    /// Where snapshots are kept.
    pub snapshots: Arc<dyn SnapshotFiles>,
    /// Whether the log never waits.
    pub is_immediate: bool,
}

impl<M: StateMachine> Opening<M> {
    /// Opens the storage and brings `machine` to the state that is remembered.
    ///
    /// # Errors
    /// When storage, snapshots or machine fail, or contradict each other or `founding`. Each error says what to do.
    pub fn open(
        mut storage: Box<dyn Storage>,
        founding: &Founding,
        mut machine: M,
    ) -> Result<Self, StartError> {
        let opened = storage.open(founding)?;
        check_part::<M>(&opened)?;
        let snapshots = storage.snapshots();
        let mut recovery = recover(&mut machine, &opened, &*snapshots)?;
        if let Some(reset) = recovery.reset.take() {
            storage.append(&[reset])?;
        }
        Ok(Self {
            storage,
            snapshots,
            opened,
            recovery,
            machine,
        })
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.opened.identity
    }

    /// Begins with these settings.
    ///
    /// # Errors
    /// When the core refuses them.
    pub fn begin(
        self,
        config: Config,
        engine: EngineConfig,
        applier: ApplierConfig,
        now: Now,
    ) -> Result<Begun<M>, StartError> {
        let Recovery {
            restored,
            at,
            sessions,
            ..
        } = self.recovery;
        let newest = self.opened.snapshots.last().cloned();
        let saved = self.opened.snapshots.iter().map(|base| base.position.index);
        let mut engine = Engine::new(config, engine, restored, at.position.index, saved, now)
            .map_err(StartError::Config)?;
        if self.machine.digest().is_some() {
            engine.compare_digests();
        }
        let (reader, snapshots) = (self.storage.reader(), self.snapshots);
        let state = Replicated::new(self.machine, at, sessions);
        Ok(Begun {
            engine,
            store: Store::new(reader.clone(), snapshots.clone()),
            applier: Applier::new(state, applier, reader, snapshots.clone(), newest),
            snapshots,
            is_immediate: self.storage.is_immediate(),
            log: LogWriter::new(self.storage),
        })
    }
}

/// A member stays what it was when it joined, a witness or a full replica.
fn check_part<M: StateMachine>(opened: &Opened) -> Result<(), StartError> {
    let id = opened.identity.replica;
    let members = newest_membership(&opened.restored);
    match members.member(id).map(|member| member.witness) {
        Some(true) if !M::is_witness() => Err(StartError::IsWitness { id }),
        Some(false) if M::is_witness() => Err(StartError::NoWitness { id }),
        _ => Ok(()),
    }
}
