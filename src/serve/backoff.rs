//! Back-off before a process that died is started again.

use std::time::Duration;

/// The first and the longest wait.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A process that lived this long did not fail at its start: the next wait is short again.
const HEALTHY: Duration = Duration::from_secs(10);

/// Waits that double with every early death.
#[derive(Debug, Default)]
pub struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after a process died that had lived for `age`.
    pub fn after(&mut self, age: Duration) -> Duration {
        if age >= HEALTHY {
            self.deaths = 0;
        }
        let wait = BOUNDS.0.saturating_mul(1 << self.deaths.min(10)).min(BOUNDS.1);
        self.deaths += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_anew_after_a_healthy_life() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff.after(HEALTHY).as_millis(), 100);
    }
}
