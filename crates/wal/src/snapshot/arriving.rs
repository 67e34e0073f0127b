//! Snapshots that arrive in pieces: what has come stays when its writer goes, and the next one goes on with it.

use std::io;

use little_raft_core::{Base, Position};

use super::{BUFFER_BYTES, SnapshotError, SnapshotStore, SnapshotWriter};

/// How the names of snapshots end that have not fully arrived.
const PART: &str = ".part";

impl SnapshotStore {
    /// Begins a snapshot that arrives, or goes on with it: what was written of the one of this base and `content` is
    /// still there, whatever became of its writer, the process or the machine. One at a time: what there is of others
    /// goes away. After a loss of power it may be garbage: check the whole before it is finished.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn receive(&self, base: &Base, content: &str) -> Result<SnapshotWriter, SnapshotError> {
        let Position { index, term } = base.position;
        let part = format!("{index:016x}-{term:016x}-{content}{PART}");
        self.remove_parts(|name| name != part)?;
        let path = self.dir.join(part);
        let failed = |error| SnapshotError::io(&path, error);
        let found = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(failed)?),
        };
        if let Some(file) = found {
            let mut writer = self.writer(base, file, path.clone());
            if writer.find_written().map_err(failed)? {
                writer.keep_unfinished();
                return Ok(writer);
            }
        }
        let file = self.disk.create(&path).map_err(failed)?;
        let mut writer = self.writer(base, file, path.clone());
        writer.write_out()?;
        writer.keep_unfinished();
        Ok(writer)
    }

    pub(super) fn remove_parts(&self, which: impl Fn(&str) -> bool) -> Result<(), SnapshotError> {
        let names = self.disk.list(&self.dir);
        let names = names.map_err(|error| SnapshotError::io(&self.dir, error))?;
        for name in names {
            if name.ends_with(PART) && which(&name) {
                let path = self.dir.join(name);
                let removed = self.disk.remove(&path);
                removed.map_err(|error| SnapshotError::io(&path, error))?;
            }
        }
        Ok(())
    }
}

impl SnapshotWriter {
    /// Gives up a snapshot that is received: it leaves nothing behind.
    pub fn discard(mut self) {
        self.unfinished.is_kept = false;
    }

    /// What is written stays, and all that is written from now on is handed to the system at once.
    fn keep_unfinished(&mut self) {
        self.unfinished.is_kept = true;
    }

    /// Whether the file begins as this one would: then what is in it counts as written.
    fn find_written(&mut self) -> io::Result<bool> {
        let mut header = vec![0; self.buffer.len()];
        let filled = self.file.read_at(&mut header, 0)?;
        if filled < header.len() || header != self.buffer {
            return Ok(false);
        }
        self.written = self.content;
        let mut bytes = vec![0; BUFFER_BYTES];
        loop {
            let count = self.file.read_at(&mut bytes, self.written)?;
            if count == 0 {
                break;
            }
            self.checksum = crc32c::crc32c_append(self.checksum, &bytes[..count]);
            self.written += count as u64;
        }
        self.length = self.written - self.content;
        self.buffer.clear();
        Ok(true)
    }
}
