//! Back-off before an operation that failed is tried again.

use std::time::Duration;

/// A process or thread that lived this long did not fail at its start: the next wait is short again.
pub const HEALTHY: Duration = Duration::from_secs(10);

/// Waits that double with every failure in a row, up to a bound.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait, and the longest.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, failures: 0 }
    }

    /// After a call that failed for want of descriptors or memory.
    pub const fn of_shortage() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
    }

    /// After the death of a process.
    pub const fn of_process() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
    }

    /// The wait after one more failure.
    pub fn wait(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        wait
    }

    /// The wait after a process died that had lived for `age`.
    pub fn wait_after(&mut self, age: Duration) -> Duration {
        if age >= HEALTHY {
            self.reset();
        }
        self.wait()
    }

    /// Starts again at the first wait: the operation has succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_anew_after_a_healthy_life() {
        let mut backoff = Backoff::of_process();
        let waits: Vec<_> = (0..9).map(|_| backoff.wait_after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff.wait_after(HEALTHY).as_millis(), 100);
        (0..100).for_each(|_| _ = backoff.wait());
        assert_eq!(backoff.wait(), Duration::from_secs(10));
    }
}
