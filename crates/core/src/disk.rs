//! What was given to the disk, and what came back: whatever promises something waits for it (rule 1).

use alloc::boxed::Box;
use core::mem;

use crate::message::Body;
use crate::plant::planted;
use crate::raft::Own;
use crate::{Base, ReplicaId, Write};

#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    /// The newest write's number.
    number: u64,
    flushed: u64,
    /// The newest write that changed term, vote or base: what promises these waits for it.
    promised: u64,
    /// Term, vote or base changed since the newest write.
    pub(crate) dirty: bool,
    base: Option<Box<Base>>,
    /// When the oldest write under way began.
    pub(crate) busy_since: Option<u64>,
}

impl Disk {
    /// The write that will make, or has made, our term, vote and base durable.
    fn promise(&self) -> u64 {
        match self.dirty {
            true => self.number + 1,
            false => self.promised,
        }
    }

    pub(crate) fn is_promise_durable(&self) -> bool {
        self.flushed >= self.promise()
    }
}

impl Own {
    pub(crate) fn write(&mut self) {
        let disk = &mut self.disk;
        if !disk.dirty && !self.log.has_unwritten() {
            return;
        }
        disk.number += 1;
        if mem::take(&mut disk.dirty) {
            disk.promised = disk.number;
        }
        disk.busy_since.get_or_insert(self.now.monotonic);
        self.out.write = Some(Write {
            number: disk.number,
            hard_state: self.hard,
            base: disk.base.take(),
            entries: self.log.take_unwritten(disk.number),
        });
    }

    pub(crate) fn flushed(&mut self, write: u64) {
        let disk = &mut self.disk;
        assert!(write <= disk.number, "write {write} was never asked for");
        disk.flushed = disk.flushed.max(write);
        let is_busy = disk.flushed < disk.number;
        disk.busy_since = is_busy.then_some(self.now.monotonic);
        self.log.flushed(write);
        self.mail.flushed(write, self.hard.term);
    }

    /// Sends now if our promises are durable, else once they are.
    pub(crate) fn promise(&mut self, to: ReplicaId, body: Body) {
        match self.disk.is_promise_durable() {
            true => self.send(to, body),
            false => self
                .mail
                .send_after(self.disk.promise(), to, self.hard.term, body),
        }
    }

    pub(crate) fn rebase(&mut self, mut base: Base) {
        if planted!(P32) && base.membership.is_joint() {
            base.membership = base.membership.left_joint();
        }
        let keeps = self.log.contains(base.position);
        self.members
            .begin_at(base.position.index, &base.membership, keeps);
        self.log.begin_at(base.position);
        self.disk.base = Some(Box::new(base));
        self.disk.dirty = true;
    }
}
