//! Ended connections: why, and how long each was open.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Stats;
use crate::report::close_reason::{CloseKind, CloseReason};

/// The longest duration that each bucket counts, but for the last one, which has no bound.
pub const DURATION_BOUNDS: [Duration; 9] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(86_400),
];

impl Stats {
    /// Counts a connection that has ended after `duration`. The reason of a refusal is counted by [`Stats::refuse`].
    pub fn ended(&self, reason: CloseReason, duration: Duration) {
        self.count_end(reason.kind(), duration);
        self.count_fault(reason);
        if matches!(reason, CloseReason::Io(_)) {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    /// As [`Stats::ended`], for a connection whose process died, which is counted elsewhere.
    pub fn count_end(&self, kind: CloseKind, duration: Duration) {
        self.lost(kind, 1);
        let bucket = DURATION_BOUNDS.iter().position(|bound| duration <= *bound);
        self.durations[bucket.unwrap_or(DURATION_BOUNDS.len())].fetch_add(1, Relaxed);
        // Rounded: cut off, the sum of many short durations would be too small.
        let micros = duration.as_nanos().saturating_add(500) / 1000;
        self.duration_sum.fetch_add(micros.try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts connections of which only the end is known, and not the duration.
    pub fn lost(&self, kind: CloseKind, count: u64) {
        self.ended[kind as usize].fetch_add(count, Relaxed);
    }

    /// Counts the fault of the daemon that ended a connection or the process of a datagram, if it was one.
    pub fn count_fault(&self, reason: CloseReason) {
        if reason.is_fault() {
            self.died.fetch_add(1, Relaxed);
            self.errors.fetch_add(1, Relaxed);
        }
    }

    /// The number of connections that have ended for this kind of reason.
    pub fn ended_by(&self, kind: CloseKind) -> u64 {
        self.ended[kind as usize].load(Relaxed)
    }

    /// How many connections were open for a duration up to each of [`DURATION_BOUNDS`] and above the one before, and at last how
    /// many above all; then the sum of all durations.
    pub(super) fn durations(&self) -> ([u64; DURATION_BOUNDS.len() + 1], Duration) {
        let load = |count: &AtomicU64| count.load(Relaxed);
        (self.durations.each_ref().map(load), Duration::from_micros(load(&self.duration_sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::Shared;

    #[test]
    fn a_duration_is_counted_in_the_bucket_that_it_fits() {
        let stats = Shared::<Stats>::new().unwrap();
        let ended = [0, 1, 2, 59_999, 60_000, 60_001, 86_400_001];
        for millis in ended {
            stats.ended(CloseReason::PeerClosed, Duration::from_millis(millis));
        }
        let (buckets, sum) = stats.durations();
        assert_eq!(buckets, [2, 1, 0, 0, 0, 2, 1, 0, 0, 1]);
        assert_eq!(sum, Duration::from_millis(ended.iter().sum()));
        assert_eq!(stats.ended_by(CloseKind::PeerClosed), 7);
    }

    #[test]
    fn the_sum_of_short_durations_is_neither_lost_nor_too_large() {
        let stats = Shared::<Stats>::new().unwrap();
        for nanos in 0..10_000 {
            stats.ended(CloseReason::PeerClosed, Duration::from_nanos(nanos));
        }
        let exact = Duration::from_nanos((0..10_000).sum());
        assert!(stats.durations().1.abs_diff(exact) < exact / 1000);
    }

    #[test]
    fn a_fault_counts_as_an_error_and_an_end_by_the_peer_does_not() {
        let stats = Shared::<Stats>::new().unwrap();
        for (reason, expected) in [
            (CloseReason::PeerReset, (0, 0)),
            (CloseReason::Io(libc::EIO), (0, 1)),
            (CloseReason::Killed(9), (1, 2)),
        ] {
            stats.ended(reason, Duration::ZERO);
            let counted = (stats.died.load(Relaxed), stats.errors.load(Relaxed));
            assert_eq!(counted, expected, "{reason}");
        }
        stats.lost(CloseKind::Killed, 4);
        assert_eq!((stats.ended_by(CloseKind::Killed), stats.died.load(Relaxed)), (5, 1));
        assert_eq!(stats.durations().0[0], 3, "those that were lost have no duration");
    }
}
