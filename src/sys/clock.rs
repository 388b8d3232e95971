//! The time, as cheap as it can be had.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Seconds since 1970 (UTC), and the milliseconds of that second, so long `ago`.
pub fn utc(ago: Duration) -> (i64, u16) {
    // A clock that stands before 1970 tells nothing of use.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    (time.as_secs().try_into().unwrap_or(i64::MAX), time.subsec_millis() as u16)
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
