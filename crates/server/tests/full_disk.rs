//! A disk that is full: writes are refused, reads go on, and when there is space writes go on by themselves.

mod common;
mod kept;
mod three;

use std::time::Duration;

use kept::Disk;

#[test]
fn placeholder() {
    let _ = (Duration::ZERO, Disk::mount("size=1m"));
}
