//! What the survivor of a group that lost its majority becomes: written down whole before anything of it is done.
//!
//! A recovery changes two files, the identity and the log. A crash between them must not leave a log that says "alone"
//! under the old cluster's name, or the new name over the old members. So the plan comes first, by one rename: without
//! it the directory is as before, and with it every start carries out what is left of it. It stays for good, because
//! it also says under which name and founders the directory was known before. A restored group's directory is made so, too.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use little_raft_core::{Codec, DecodeError, Identity, Member, ReplicaId, Write};

use crate::disk::{Disk, replace};
use crate::error::{AppendError, Damage, OpenError};
use crate::group::Group;
use crate::identity::{self, newer};
use crate::record::{Record, decode_record, encode_write};
use crate::sealed::{Sealed, seal};
use crate::{FORMAT_VERSION, Wal};

const NAME: &str = "recovered";
const MAGIC: &[u8; 8] = b"LRRECOV\n";
const BYTES_MAX: usize = 16 << 20;

/// Who a directory's replica was before its group was recovered: what its operator's settings may still say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Former {
    pub(crate) cluster: u64,
    pub(crate) founders: Vec<Member>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The new cluster.
    pub(crate) cluster: u64,
    pub(crate) founders: Vec<Member>,
    pub(crate) former: Former,
    /// What each group's log takes over as if its replica had been elected alone.
    pub(crate) writes: Vec<(u64, Write)>,
}

impl Plan {
    /// Who the replica is by this plan, whether it is carried out yet or not.
    pub(crate) fn over(&self, recorded: Identity) -> Identity {
        Identity {
            cluster: self.cluster,
            founders: self.founders.clone(),
            ..recorded
        }
    }

    /// The plan in `dir`, if its group was ever recovered.
    pub(crate) fn load(
        disk: &dyn Disk,
        dir: &Path,
        whose: &Identity,
    ) -> Result<Option<Self>, OpenError> {
        let path = dir.join(NAME);
        let stranger = "it does not begin like the record of a recovery";
        let Some(sealed) = Sealed::read(disk, &path, MAGIC, BYTES_MAX, stranger)? else {
            return Ok(None);
        };
        if sealed.version > FORMAT_VERSION && sealed.is_whole {
            return Err(newer(&path, sealed.version));
        }
        let damaged = |what: &str| Err(Damage::new(&path, 0, what).into());
        match Self::decode(sealed.content(&path)?) {
            Ok((replica, incarnation, plan)) => {
                if (replica, incarnation) != (whose.replica, whose.incarnation) {
                    return damaged("it is of another data directory");
                }
                Ok(Some(plan))
            }
            Err(error) => damaged(&error.to_string()),
        }
    }

    /// Only a directory that was started before can have been recovered.
    pub(crate) fn deny(disk: &dyn Disk, dir: &Path, whose: &Identity) -> Result<(), OpenError> {
        match Self::load(disk, dir, whose)? {
            None => Ok(()),
            Some(_) => {
                let what =
                    "the group was recovered, but the identity says that it was never started";
                Err(Damage::new(dir.join(NAME), 0, what).into())
            }
        }
    }

    /// Makes this the directory's plan, durably: from here on it is recovered.
    pub(crate) fn store(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        whose: &Identity,
    ) -> Result<(), OpenError> {
        let bytes = seal(MAGIC, &self.encode(whose));
        replace(disk, dir, NAME, &bytes).map_err(|error| OpenError::io(&dir.join(NAME), error))
    }

    fn encode(&self, whose: &Identity) -> BytesMut {
        let mut out = BytesMut::new();
        whose.replica.encode(&mut out);
        whose.incarnation.encode(&mut out);
        self.cluster.encode(&mut out);
        self.founders.encode(&mut out);
        self.former.cluster.encode(&mut out);
        self.former.founders.encode(&mut out);
        for (group, write) in &self.writes {
            encode_write(*group, write, 0, &mut out);
        }
        out
    }

    fn decode(mut input: Bytes) -> Result<(ReplicaId, u64, Self), DecodeError> {
        let whose = (Codec::decode(&mut input)?, Codec::decode(&mut input)?);
        let mut plan = Self {
            cluster: Codec::decode(&mut input)?,
            founders: Codec::decode(&mut input)?,
            former: Former {
                cluster: Codec::decode(&mut input)?,
                founders: Codec::decode(&mut input)?,
            },
            writes: Vec::new(),
        };
        let total = input.len();
        while !input.is_empty() {
            let Ok(Record::Write {
                group,
                hard_state,
                base,
                entries,
                ..
            }) = decode_record(&mut input, total)
            else {
                return Err(DecodeError::Unknown("record of a recovery", 0));
            };
            // By its last entry a start knows that it was written, and does not write it again over what followed.
            if entries.is_empty() {
                return Err(DecodeError::Unknown(
                    "write of a recovery without entries",
                    0,
                ));
            }
            let write = Write {
                number: 0,
                hard_state,
                base: base.map(Box::new),
                entries: entries.into(),
            };
            plan.writes.push((group, write));
        }
        Ok((whose.0, whose.1, plan))
    }

    /// Whether a group's log has what it was to take over. What followed in the new cluster never takes it away again.
    fn is_in(write: &Write, group: Option<&Group>) -> bool {
        let (Some(last), Some(group)) = (write.entries.last(), group) else {
            return false;
        };
        let position = last.position;
        group.base.position.index >= position.index
            || group.term_at(position.index) == Some(position.term)
    }

    fn follows(write: &Write, group: Option<&Group>) -> bool {
        let (base, entries) = (write.base.as_deref(), &write.entries);
        match group {
            Some(group) => group.takes_after(base, entries),
            None => Group::default().takes_after(base, entries),
        }
    }

    /// Whether anything of it is left to be written to the log.
    pub(crate) fn is_due(&self, wal: &Wal) -> bool {
        wal.with_groups(|groups| {
            let mut writes = self.writes.iter();
            writes.any(|(id, write)| !Self::is_in(write, groups.get(id)))
        })
    }

    /// Whether the log can take what is to be written.
    pub(crate) fn check(&self, wal: &Wal) -> Result<(), OpenError> {
        let writes: Vec<(u64, &Write)> = self.writes.iter().map(|(id, it)| (*id, it)).collect();
        wal.check(&writes).map_err(refused)
    }

    /// Writes to the log what it does not have yet, all of it by one write and one flush.
    pub(crate) fn carry_out(&self, wal: &mut Wal) -> Result<(), OpenError> {
        let due: Vec<(u64, &Write)> = wal.with_groups(|groups| {
            let writes = self.writes.iter();
            let due = writes.filter(|(id, write)| !Self::is_in(write, groups.get(id)));
            due.map(|(id, write)| (*id, write)).collect()
        });
        let lost = wal.with_groups(|groups| {
            let mut due = due.iter();
            due.any(|(id, write)| !Self::follows(write, groups.get(id)))
        });
        if lost {
            let what = "the log has lost what the entries of the recovery follow";
            return Err(Damage::new(wal.dir().join(NAME), 0, what).into());
        }
        wal.append(&due).map_err(refused)?;
        Ok(())
    }

    /// The rest of it: the identity, then the log. So a program that knows no plans is never shown a log that says
    /// "alone" under the old cluster's name.
    pub(crate) fn finish(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        recorded: Identity,
        wal: &mut Wal,
    ) -> Result<(), OpenError> {
        identity::store(disk, dir, &self.over(recorded))?;
        self.carry_out(wal)
    }
}

fn refused(error: AppendError) -> OpenError {
    match error {
        AppendError::NoSpace { dir, .. } => OpenError::io(&dir, io::ErrorKind::StorageFull.into()),
        AppendError::Failed { file, source } => OpenError::io(&file, source),
        other => OpenError::io(Path::new(NAME), io::Error::other(other)),
    }
}
