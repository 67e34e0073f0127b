//! The log on disks that fail in every way we know.

mod basic;
mod disk;
mod harness;
