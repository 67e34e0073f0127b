//! A bound on what decoding allocates.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs it, and panics if all its allocations together had more than `bytes_max` bytes. That is more than what it held at
/// any one time, so the bound is a strict one.
pub fn within<T>(bytes_max: usize, decode: impl FnOnce() -> T) -> T {
    let region = Region::new(GLOBAL);
    let decoded = decode();
    let bytes = region.change().bytes_allocated;
    assert!(
        bytes <= bytes_max,
        "{bytes} bytes were allocated for an input that deserves {bytes_max}"
    );
    decoded
}
