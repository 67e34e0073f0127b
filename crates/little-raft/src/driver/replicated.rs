//! All that entries change, on every replica alike: the state machine, and what the library keeps beside it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use little_raft_core::{Base, Codec, Entry as LogEntry, EntryKind, Position, planted};

use super::digests::{DigestCommand, Digests, Taken};
use super::outcome::{Ended, Outcome};
use super::pieces::{self, Whole};
use super::sessions::{SessionCommand, Sessions};
use super::waiters::checksum;
use crate::error::StopReason;
use crate::machine::{Entry, LibraryState, ResponseCodec, StateMachine};
use crate::session::Once;

/// The replicated state.
pub struct Replicated<M> {
    /// The user's part.
    pub machine: M,
    /// What is applied, and who belonged to the group then.
    at: Base,
    sessions: Sessions,
    digests: Digests,
    /// A digest that nobody was told of yet.
    taken: Option<Taken>,
    is_durable: bool,
}

impl<M: StateMachine> Replicated<M> {
    /// The state at `at`.
    pub fn new(machine: M, at: Base, sessions: Sessions) -> Self {
        Self {
            is_durable: machine.durable().is_some(),
            machine,
            at,
            sessions,
            digests: Digests::default(),
            taken: None,
        }
    }

    /// The last index at which a majority's state was known to be this one, kept up to date; zero for none.
    pub fn alike(&self) -> Arc<AtomicU64> {
        self.digests.alike()
    }

    /// A digest of the state that the others are to be told.
    pub fn newly_taken(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    /// Whether the machine keeps itself.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// What is applied.
    pub fn position(&self) -> Position {
        self.at.position
    }

    /// The same, and who belonged to the group then.
    pub fn base(&self) -> Base {
        self.at.clone()
    }

    /// A view of all of it.
    ///
    /// # Errors
    /// The machine's.
    pub fn snapshot(&self) -> io::Result<Whole<M::Snapshot>> {
        let sessions = planted!(
            P56,
            Sessions::default().to_bytes(),
            self.sessions.to_bytes()
        );
        Ok(Whole {
            sessions,
            view: self.machine.snapshot()?,
        })
    }

    /// For a durable machine: what was applied takes effect.
    ///
    /// # Errors
    /// The machine's.
    pub fn commit(&mut self) -> Result<(), StopReason> {
        if !self.is_durable {
            return Ok(());
        }
        let library = LibraryState::new(&self.at, &self.sessions);
        let committed = self.machine.commit(self.at.position, &library);
        committed.map_err(machine_failed)
    }

    /// Rule 10: a snapshot is installed whole, and never rolls the state back.
    ///
    /// # Errors
    /// If the stream is damaged, and those of the machine. The state must not be used then.
    ///
    /// # Panics
    /// If the snapshot is older than the state.
    pub fn install(
        &mut self,
        base: &Base,
        stream: impl Read + Send + 'static,
    ) -> Result<(), StopReason> {
        let (new, old) = (base.position, self.at.position);
        assert!(
            new.index >= old.index,
            "a snapshot at {new} would roll back a machine at {old}"
        );
        self.sessions = pieces::restore(&mut self.machine, stream).map_err(machine_failed)?;
        self.at = base.clone();
        self.digests.forget();
        self.commit()
    }

    /// Applies the next entry. Nothing comes of one that nobody proposed.
    ///
    /// # Errors
    /// If the entry is not what was proposed, or is of another version.
    ///
    /// # Panics
    /// If it is not the next.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<Option<Ended<M::Response>>, StopReason> {
        let new = entry.position;
        assert!(
            new.index == self.at.position.index + 1,
            "the entry after {} must be applied next, not {new}",
            self.at.position
        );
        if checksum(&entry.payload) != entry.checksum {
            return Err(StopReason::Storage(
                format!("the command at {new} is not what was proposed: its checksum differs; replace this replica's data from its peers").into(),
            ));
        }
        self.at.position = new;
        if planted!(P50) {
            self.commit()?;
        }
        Ok(match entry.kind {
            EntryKind::Noop => None,
            EntryKind::Membership => {
                let membership = entry.membership();
                self.at.membership = membership.ok_or_else(|| unreadable("membership", new))?;
                None
            }
            EntryKind::Session => Some(self.apply_session(entry)?),
            EntryKind::Digest => {
                self.compare(entry)?;
                None
            }
            kind => Some(Ok(self.apply_commands(entry, kind, &entry.payload)?)),
        })
    }

    fn apply_commands(
        &mut self,
        entry: &LogEntry,
        kind: EntryKind,
        payload: &Bytes,
    ) -> Result<Outcome<M::Response>, StopReason> {
        let (position, time) = (entry.position, entry.time);
        let mut apply = |command| self.machine.apply(Entry::new(position, time, command));
        match kind {
            EntryKind::Command => Ok(Outcome::Response(apply(payload))),
            EntryKind::Commands => {
                let commands = Vec::<Bytes>::from_bytes(payload.clone());
                let commands = commands.map_err(|_| unreadable("commands", position))?;
                Ok(Outcome::Responses(commands.iter().map(apply).collect()))
            }
            _ => Err(unreadable("command", position)),
        }
    }

    fn compare(&mut self, entry: &LogEntry) -> Result<(), StopReason> {
        let index = entry.position.index;
        let command = DigestCommand::from_bytes(entry.payload.clone());
        match command.map_err(|_| unreadable("digest", entry.position))? {
            DigestCommand::Take => {
                let digest = self.machine.digest();
                self.taken = digest.map(|digest| Taken { index, digest });
                match self.taken {
                    Some(taken) => self.digests.take(taken),
                    None => self.digests.forget(),
                }
                Ok(())
            }
            DigestCommand::Taken(by, taken) => {
                let voters = &self.at.membership;
                match self.digests.has_differed(by, taken, voters) {
                    true => Err(StopReason::Diverged { index: taken.index }),
                    false => Ok(()),
                }
            }
        }
    }

    fn apply_session(&mut self, entry: &LogEntry) -> Result<Ended<M::Response>, StopReason> {
        let position = entry.position;
        let command = SessionCommand::from_bytes(entry.payload.clone());
        match command.map_err(|_| unreadable("session command", position))? {
            SessionCommand::Register => {
                self.sessions.register(position.index);
                Ok(Ok(Outcome::Session(position.index)))
            }
            SessionCommand::Once(once, kind, payload) => {
                self.apply_once(entry, once, kind, &payload)
            }
        }
    }

    /// Thesis, section 6.3: the first attempt is applied, and a later one answered as the first was.
    fn apply_once(
        &mut self,
        entry: &LogEntry,
        once: Once,
        kind: EntryKind,
        payload: &Bytes,
    ) -> Result<Ended<M::Response>, StopReason> {
        let (position, checksum) = (entry.position, checksum(payload));
        let codec = M::response_codec().ok_or_else(no_codec)?;
        match self.sessions.attempt(position.index, once, checksum) {
            Err(error) => Ok(Err(error)),
            Ok(Some(kept)) => match decode(kind, kept, &codec) {
                Some(outcome) => Ok(Ok(outcome)),
                None => Err(unreadable("response kept for the command", position)),
            },
            Ok(None) => {
                let outcome = self.apply_commands(entry, kind, payload)?;
                let kept = outcome.encode(&codec);
                self.sessions.answered(once, checksum, kept);
                Ok(Ok(outcome))
            }
        }
    }
}

fn decode<R>(kind: EntryKind, kept: Bytes, codec: &ResponseCodec<R>) -> Option<Outcome<R>> {
    match kind {
        EntryKind::Commands => Outcome::decode_all(kept, codec),
        _ => Outcome::decode_one(kept, codec),
    }
}

fn no_codec() -> StopReason {
    StopReason::Machine("a session is used, but this state machine has no `response_codec`".into())
}

fn unreadable(what: &str, position: Position) -> StopReason {
    let text = format!(
        "the {what} at {position} can't be read: it was written by a newer version, or is damaged"
    );
    StopReason::Storage(text.into())
}

fn machine_failed(error: io::Error) -> StopReason {
    StopReason::Machine(error.to_string().into())
}
