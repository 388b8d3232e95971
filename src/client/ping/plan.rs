//! When probes are to be sent: at moments that are fixed at the start, whatever comes between.

use std::time::Duration;

/// What is due longer than this is sent only if nothing else is due after it.
const BACKLOG: u64 = 10_000_000;

/// The moments of one target's probes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The moment of the next probe.
    next: u64,
    interval: u64,
    /// Probes that are still to come.
    left: Option<u64>,
    /// Nothing is sent from then on.
    until: Option<u64>,
}

/// What is to be done with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send it; its moment was this one.
    Send(u64),
    /// It is too late for it.
    Skip,
}

impl Plan {
    /// Probes from `start` on.
    pub(super) fn new(start: u64, interval: Duration, count: Option<u64>, until: Option<u64>) -> Self {
        Self { next: start, interval: interval.as_nanos() as u64, left: count, until }
    }

    /// Ends it: nothing more is sent.
    pub(super) fn end(&mut self) {
        self.left = Some(0);
    }

    /// When the next probe is to be sent, if there is one.
    pub(super) fn next(&self) -> Option<u64> {
        let is_over = self.left == Some(0) || self.until.is_some_and(|until| self.next > until);
        (!is_over).then_some(self.next)
    }

    /// Takes the next probe if it is due.
    pub(super) fn take(&mut self, now: u64) -> Option<Due> {
        let planned = self.next().filter(|planned| *planned <= now)?;
        self.next = planned + self.interval;
        self.left = self.left.map(|left| left - 1);
        let is_stale = planned + BACKLOG < now && self.next().is_some_and(|next| next <= now);
        Some(if is_stale { Due::Skip } else { Due::Send(planned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn moments_are_absolute() {
        let mut plan = Plan::new(5, Duration::from_secs(1), Some(3), None);
        assert_eq!((plan.take(4), plan.take(5), plan.take(5)), (None, Some(Due::Send(5)), None));
        // Half a second late, and still on the plan.
        assert_eq!(plan.take(SECOND + SECOND / 2), Some(Due::Send(SECOND + 5)));
        assert_eq!(plan.next(), Some(2 * SECOND + 5));
        assert_eq!(plan.take(2 * SECOND + 5), Some(Due::Send(2 * SECOND + 5)));
        assert_eq!((plan.next(), plan.take(u64::MAX)), (None, None));
    }

    #[test]
    fn what_cannot_be_held_is_skipped() {
        let mut plan = Plan::new(0, Duration::from_millis(4), Some(6), None);
        let now = 21_000_000;
        let taken: Vec<_> = std::iter::from_fn(|| plan.take(now)).collect();
        let send = |n: u64| Due::Send(n * 4_000_000);
        assert_eq!(taken, [Due::Skip, Due::Skip, Due::Skip, send(3), send(4), send(5)]);
    }

    #[test]
    fn nothing_is_sent_after_the_end() {
        let mut plan = Plan::new(0, Duration::from_secs(1), None, Some(SECOND));
        assert_eq!((plan.take(9), plan.next()), (Some(Due::Send(0)), Some(SECOND)));
        assert_eq!((plan.take(SECOND), plan.next()), (Some(Due::Send(SECOND)), None));
        let mut plan = Plan::new(0, Duration::from_secs(1), None, None);
        plan.end();
        assert_eq!(plan.next(), None);
    }
}
