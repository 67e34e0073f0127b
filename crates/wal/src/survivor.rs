//! The directory of a replica whose group has lost its majority: read without a change, and rewritten whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use little_raft_core::{Identity, Member, Restored, Write};

use crate::directory::{lock, make_durable};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::identity;
use crate::manifest::Manifest;
use crate::plan::{Former, Plan};
use crate::recovery::{Torn, recover};
use crate::segment::Segment;
use crate::snapshot::SnapshotStore;
use crate::upkeep::Upkeep;
use crate::{Options, Wal};

/// A stopped replica's directory, locked while this lives. Reading it changes nothing; [`rewrite`](Self::rewrite) does.
pub struct Survivor {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    recorded: Identity,
    plan: Option<Plan>,
    unvouched: Option<(Arc<Segment>, Range<u64>)>,
    groups: BTreeMap<u64, Restored>,
    torn: Option<Torn>,
    wal: Wal,
}

/// What becomes of a replica whose group is recovered.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The new cluster: another than ever before, so that nobody of the old one is listened to.
    pub cluster: u64,
    /// The members that it begins with.
    pub founders: Vec<Member>,
    /// What the log of each group takes over, ending in an entry that it can't have yet.
    pub writes: Vec<(u64, Write)>,
}

impl Survivor {
    /// Reads the directory `dir`; none if there is no replica in it.
    ///
    /// # Errors
    /// See [`OpenError`]; [`OpenError::Locked`] if the replica runs.
    pub fn read(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<Option<Self>, OpenError> {
        // Before the lock, whose file would be made.
        if Wal::identity(&*disk, dir)?.is_none() {
            return Ok(None);
        }
        let lock = lock(&*disk, dir)?;
        let recorded = identity::load(&*disk, dir)?;
        let Some(recorded) = recorded.filter(|identity| identity.boot > 0) else {
            return Ok(None);
        };
        let plan = Plan::load(&*disk, dir, &recorded)?;
        let manifest = Manifest::load(&*disk, dir, recorded.incarnation)?;
        let found = recover(&*disk, dir, recorded.incarnation, manifest.listed())?;
        let (unvouched, torn) = (found.unvouched.clone(), found.torn.clone());
        let unvouched = unvouched.map(|range| (found.active.clone(), range));
        let upkeep = Upkeep {
            manifest,
            spare: found.spare.clone(),
            recycled: Vec::new(),
            lock: Some(lock),
        };
        let incarnation = recorded.incarnation;
        let wal = Wal::assemble(disk.clone(), dir, options, incarnation, upkeep, found);
        Ok(Some(Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            recorded,
            plan,
            unvouched,
            groups: wal.restored()?,
            torn,
            wal,
        }))
    }

    /// Whose it is; of a recovery that a crash has cut short, as it will be once it is finished.
    pub fn identity(&self) -> Identity {
        let recorded = self.recorded.clone();
        match &self.plan {
            Some(plan) => plan.over(recorded),
            None => recorded,
        }
    }

    /// What each group's log remembers, by its number.
    pub fn groups(&self) -> &BTreeMap<u64, Restored> {
        &self.groups
    }

    /// The unfinished write at the log's end, if there is one; the next start cuts it off.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// The snapshots of a group, to be looked at.
    pub fn snapshots(&self, group: u64) -> SnapshotStore {
        SnapshotStore::existing(self.disk.clone(), &self.wal.snapshots_dir(group))
    }

    /// Whether it was recovered before, to the end or not.
    pub fn is_recovered(&self) -> bool {
        self.plan.is_some()
    }

    /// Whether a crash has cut a recovery short: [`finish`](Self::finish) does the rest, and so does the next start.
    pub fn is_unfinished(&self) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| plan.cluster != self.recorded.cluster || plan.is_due(&self.wal))
    }

    /// Does what a crash has left of a recovery.
    ///
    /// # Errors
    /// See [`OpenError`]; calling it again goes on.
    pub fn finish(mut self) -> Result<(), OpenError> {
        self.make_durable()?;
        match self.plan.take() {
            Some(plan) => self.carry_out(&plan),
            None => Ok(()),
        }
    }

    /// Gives the directory to another cluster, with all that its log holds. A crash at any step leaves it as it was, or
    /// recovered: then the next start does the rest by itself.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// If a write has no entries, or they do not follow its group's log; nothing was changed then.
    pub fn rewrite(mut self, rewrite: Rewrite) -> Result<(), OpenError> {
        let mut writes = rewrite.writes.iter();
        let end_in_entries = writes.all(|(_, write)| !write.entries.is_empty());
        assert!(end_in_entries, "a recovery ends in an entry of each group");
        self.make_durable()?;
        let now = Former {
            cluster: self.recorded.cluster,
            founders: self.recorded.founders.clone(),
        };
        // Recovered twice, the operator's settings still say what they said at first.
        let former = self.plan.take().map_or(now, |plan| plan.former);
        let plan = Plan {
            cluster: rewrite.cluster,
            founders: rewrite.founders,
            former,
            writes: rewrite.writes,
        };
        // Before it is decided: a plan that the log can't take would stand in the way of every start.
        plan.check(&self.wal)?;
        plan.store(&*self.disk, &self.dir, &self.recorded)?;
        self.carry_out(&plan)
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), OpenError> {
        let recorded = self.recorded.clone();
        plan.finish(&*self.disk, &self.dir, recorded, &mut self.wal)
    }

    /// What a start would do before it trusts what it has read.
    fn make_durable(&mut self) -> Result<(), OpenError> {
        let unvouched = self.unvouched.take();
        let unvouched = unvouched.as_ref();
        let unvouched = unvouched.map(|(segment, range)| (&**segment, range.clone()));
        // Files to be used again stay where they are.
        let (disk, identity) = (&*self.disk, &self.recorded);
        self.wal.with_manifest(|manifest| {
            make_durable(
                disk,
                &self.dir,
                identity,
                manifest,
                unvouched,
                &self.options,
            )
            .map(drop)
        })
    }
}
