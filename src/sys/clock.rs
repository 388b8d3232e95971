//! The time, as cheap as it can be had.

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};

/// Nanoseconds of `CLOCK_MONOTONIC`, clock_gettime(2): the same in every process, so it may stand in shared memory. It lasts
/// for 584 years after the machine was started.
pub fn now() -> u64 {
    // It cannot fail: the clock exists, and the result is ours.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, nanoseconds)
}

/// As [`now`], but up to a few milliseconds late, and read from memory (`CLOCK_MONOTONIC_COARSE`).
pub fn lately() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, nanoseconds)
}

/// Seconds since 1970 (UTC), of `CLOCK_REALTIME_COARSE`: up to a few milliseconds late, and read from memory.
pub fn second() -> i64 {
    // It cannot fail, either.
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, |time| time.tv_sec())
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
