//! The time, as cheap as it can be had.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, clock_gettime(2): the same in every process, so it may stand in shared memory. It lasts
/// for 584 years after the machine was started.
pub fn now() -> u64 {
    // It cannot fail: the clock exists, and the result is ours.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Seconds since 1970 (UTC), of `CLOCK_REALTIME_COARSE`: up to a few milliseconds late, and read from memory.
pub fn second() -> i64 {
    // It cannot fail, either.
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, |time| time.tv_sec())
}
