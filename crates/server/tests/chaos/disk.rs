//! A small disk that can be filled, where this user may mount one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A log of two of the largest segments, and a store of some hundred megabytes, have room.
const OPTIONS: &str = "size=512m";

pub struct Disk(PathBuf);

impl Disk {
    /// In memory: what is killed finds it as it left it, as on a disk.
    pub fn at(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", OPTIONS, "tmpfs"])
            .arg(path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(path.into()))
    }

    /// Until not a byte more fits.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("it has room for a name");
        for bytes in [64 << 10, 4 << 10, 1] {
            while ballast.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    /// There is room again.
    pub fn empty(&self) {
        // It may not have been filled.
        drop(fs::remove_file(self.ballast()));
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
