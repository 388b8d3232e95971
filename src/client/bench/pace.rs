//! When to send: on a plan, or whenever an answer has come.

/// What tells when to send.
#[derive(Clone, Debug)]
pub(super) enum Pace {
    /// So many messages in flight on each socket, until this moment.
    Closed {
        /// Messages in flight on each socket.
        window: u32,
        /// When to send no more, in nanoseconds of the monotonic clock.
        until: u64,
    },
    /// Message n at the moment `start` + n / `rate`.
    Open(Plan),
}

/// The moments of an open loop, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    start: u64,
    rate: u64,
    next: u64,
    total: u64,
}

impl Plan {
    /// `rate` messages a second for `duration` nanoseconds.
    pub(super) fn new(start: u64, rate: u64, duration: u64) -> Self {
        let total = u128::from(rate) * u128::from(duration) / 1_000_000_000;
        Self { start, rate, next: 0, total: total as u64 }
    }

    /// When message `number` is due.
    fn moment(&self, number: u64) -> u64 {
        self.start + (u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// The next message and its moment, if that is not after `now`; it is taken off the plan.
    pub(super) fn due(&mut self, now: u64) -> Option<(u64, u64)> {
        let moment = self.moment(self.next);
        (self.next < self.total && moment <= now).then(|| {
            self.next += 1;
            (self.next - 1, moment)
        })
    }

    /// Leaves out what was due more than `backlog` before `now`, and returns how many that is. The latest one that is due stays,
    /// however late: a wait that was too long must not leave a short run without any.
    pub(super) fn skip(&mut self, now: u64, backlog: u64) -> u64 {
        let Some(late) = now.checked_sub(backlog + self.moment(self.next)).filter(|late| *late > 0) else {
            return 0;
        };
        let passed = u128::from(late) * u128::from(self.rate) / 1_000_000_000 + 1;
        let due = u128::from(now - self.start) * u128::from(self.rate) / 1_000_000_000 + 1;
        let due = u64::try_from(due).map_or(self.total, |due| due.min(self.total));
        let skipped = due.saturating_sub(self.next + 1).min(passed as u64);
        self.next += skipped;
        skipped
    }
}

impl Pace {
    /// Whether nothing more is to be sent.
    pub(super) fn is_done(&self, now: u64) -> bool {
        match self {
            Pace::Closed { until, .. } => now >= *until,
            Pace::Open(plan) => plan.next == plan.total,
        }
    }

    /// The moment at which there is something to do without an answer.
    pub(super) fn next(&self) -> u64 {
        match self {
            Pace::Closed { until, .. } => *until,
            Pace::Open(plan) => plan.moment(plan.next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_held_without_drift() {
        let mut plan = Plan::new(1_000, 3, 10_000_000_000);
        assert_eq!((plan.total, plan.due(999), plan.due(1_000)), (30, None, Some((0, 1_000))));
        assert_eq!(plan.due(333_334_332), None);
        assert_eq!(plan.due(334_334_333), Some((1, 333_334_333)));
        let rest: Vec<_> = std::iter::from_fn(|| plan.due(u64::MAX)).collect();
        assert_eq!(rest.last(), Some(&(29, 9_666_667_666)));
        assert!(Pace::Open(plan).is_done(0));
    }

    #[test]
    fn what_is_too_late_is_skipped() {
        let mut plan = Plan::new(0, 1_000, 1_000_000_000);
        assert_eq!((plan.skip(10_000_000, 10_000_000), plan.next), (0, 0));
        assert_eq!((plan.skip(15_500_000, 10_000_000), plan.next), (6, 6));
        assert_eq!(plan.due(15_500_000), Some((6, 6_000_000)));
        assert_eq!((plan.skip(90_000_000_000, 10_000_000), plan.next), (992, 999));
        assert_eq!(plan.skip(90_000_000_000, 10_000_000), 0, "the latest one is sent");
        assert_eq!((plan.due(u64::MAX), plan.due(u64::MAX)), (Some((999, 999_000_000)), None));
    }
}
