//! The log on disks that fail in every way we know.

mod basic;
mod crash;
mod disk;
mod faults;
mod harness;
mod snapshots;
mod survivor;
