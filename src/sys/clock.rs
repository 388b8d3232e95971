//! Clocks, each read in the cheapest way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};

/// Nanoseconds of `CLOCK_MONOTONIC` (clock_gettime(2)). The clock is the same for every process, so its values may be kept in
/// shared memory. The counter wraps 584 years after boot.
pub fn now() -> u64 {
    // Cannot fail: every kernel has this clock, and the result is a local variable.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, nanoseconds)
}

/// Like [`now`], but up to a few milliseconds behind: `CLOCK_MONOTONIC_COARSE` reads the time of the last tick.
pub fn lately() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, nanoseconds)
}

/// The UTC time `ago` before now: seconds since 1970, and the milliseconds of that second.
pub fn utc(ago: Duration) -> (i64, u16) {
    // A clock before 1970 counts as 1970.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    (time.as_secs().try_into().unwrap_or(i64::MAX), time.subsec_millis() as u16)
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
