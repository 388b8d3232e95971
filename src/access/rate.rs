//! Rate limiter: a token bucket in one atomic number, by the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! Instead of tokens and the time of their last count, a bucket holds the *theoretical arrival time*: when it will be
//! full again. Each request puts that time off by its cost; a request that would put it off too far is refused. All
//! threads and processes that share the number share the bucket, without a lock, and a bucket of zero is full.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::Rate;

/// A rate, in the form that is applied to buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimiter {
    number: u64,
    period: u64,
    /// How far from now the bucket may be full again, in nanoseconds: the time that a burst is worth.
    burst: u64,
}

impl RateLimiter {
    /// The limiter of a rate.
    pub fn new(rate: &Rate) -> RateLimiter {
        let mut limiter =
            RateLimiter { number: rate.number.max(1), period: rate.per.nanoseconds(), burst: 0 };
        // The cost of one is rounded up, and a whole burst must fit all the same.
        limiter.burst =
            if rate.bytes { limiter.cost(rate.burst) } else { limiter.cost(1).saturating_mul(rate.burst) };
        limiter
    }

    /// Takes `count` out of `bucket` at the time `now`, in nanoseconds; false if there is not as much.
    pub fn take(&self, bucket: &AtomicU64, count: u64, now: u64) -> bool {
        let cost = self.cost(count);
        let put_off = |theoretical_arrival: u64| {
            let theoretical_arrival = theoretical_arrival.max(now).saturating_add(cost);
            (theoretical_arrival - now <= self.burst).then_some(theoretical_arrival)
        };
        bucket.fetch_update(Relaxed, Relaxed, put_off).is_ok()
    }

    /// How much there is in a bucket at the time `now`, of a `rate` that this is the limiter of.
    pub fn left(&self, rate: &Rate, bucket: u64, now: u64) -> u64 {
        let room = self.burst.saturating_sub(bucket.saturating_sub(now));
        let left = match rate.bytes {
            // As much as costs no more than this.
            true => (u128::from(room) * u128::from(self.number) / u128::from(self.period)) as u64,
            false => room / self.cost(1),
        };
        left.min(rate.burst)
    }

    /// The time that `count` is worth, in nanoseconds; rounded up, so that never more than the rate passes.
    fn cost(&self, count: u64) -> u64 {
        match count.checked_mul(self.period) {
            Some(product) => product.div_ceil(self.number),
            // Only for a long burst, never for a request. A burst that takes more than a year was refused with the
            // configuration.
            None => (u128::from(count) * u128::from(self.period)).div_ceil(u128::from(self.number)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread};

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::config::Period;

    /// Reference: tokens as exact fractions, `number` a period, `burst` at most. One token is `period` units.
    struct Simulation {
        units: u128,
        at: u64,
    }

    impl Simulation {
        fn take(&mut self, rate: &Rate, count: u64, now: u64) -> bool {
            let period = u128::from(rate.per.nanoseconds());
            let most = u128::from(rate.burst) * period;
            let grown = u128::from(now - self.at) * u128::from(rate.number);
            self.units = (self.units + grown).min(most);
            self.at = now;
            let cost = u128::from(count) * period;
            let enough = self.units >= cost;
            if enough {
                self.units -= cost;
            }
            enough
        }
    }

    fn rate(number: u64, per: Period, burst: u64) -> Rate {
        Rate { number, bytes: false, per, burst }
    }

    /// Numbers that divide a period: one token is worth whole nanoseconds, and nothing is rounded.
    fn rates() -> impl Strategy<Value = Rate> {
        let numbers = select(vec![1, 2, 5, 10, 50, 1000, 8000, 1_000_000, 1_000_000_000]);
        let periods = select(vec![Period::Second, Period::Minute, Period::Hour]);
        (numbers, periods, 1..200u64).prop_map(|(number, per, burst)| rate(number, per, burst))
    }

    proptest! {
        #[test]
        fn what_is_left_can_be_taken_and_no_more(
            number in 1..5_000_000_000_u64, bytes in any::<bool>(), burst in 1..100_000_u64,
            before in vec((0..1000_u64, 0..1000_u64), 0..20),
        ) {
            let rate = Rate { number, bytes, per: Period::Second, burst };
            let (limiter, bucket, mut now) = (RateLimiter::new(&rate), AtomicU64::new(0), 1_000_000);
            let left = |now| limiter.left(&rate, bucket.load(Relaxed), now);
            prop_assert_eq!(left(now), burst);
            for (time, count) in before {
                now += time;
                limiter.take(&bucket, if bytes { count } else { 1 }, now);
            }
            let left = left(now);
            if bytes {
                prop_assert!(limiter.take(&AtomicU64::new(bucket.load(Relaxed)), left, now));
                prop_assert!(left == burst || !limiter.take(&bucket, left + 1, now));
            } else {
                (0..left).for_each(|_| assert!(limiter.take(&bucket, 1, now)));
                prop_assert!(!limiter.take(&bucket, 1, now));
            }
        }

        #[test]
        fn a_bucket_does_what_counting_tokens_does(
            rate in rates(),
            requests in vec((0..4u64, 0..400u64, 1..6u64), 1..300),
        ) {
            let (limiter, bucket) = (RateLimiter::new(&rate), AtomicU64::new(0));
            let start = 1_000_000_000_000;
            let mut simulation = Simulation { units: u128::MAX >> 1, at: start };
            let mut now = start;
            let token = rate.per.nanoseconds() / rate.number;
            for (tokens, percent, count) in requests {
                now += token * tokens * percent / 100;
                let expected = simulation.take(&rate, count, now);
                prop_assert_eq!(limiter.take(&bucket, count, now), expected, "{:?} {} at {}", rate, count, now);
            }
        }
    }

    #[test]
    fn no_more_than_a_burst_passes_at_once_however_many_try() {
        let (limiter, bucket) = (RateLimiter::new(&rate(3, Period::Second, 1000)), AtomicU64::new(0));
        let passed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let count = (0..500).filter(|_| limiter.take(&bucket, 1, 77)).count();
                    passed.fetch_add(count, Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), 1000);
    }

    /// A third of a second is not a whole number of nanoseconds: rounding never lets more pass.
    #[test]
    fn what_is_rounded_is_rounded_down() {
        let (limiter, bucket) = (RateLimiter::new(&rate(3, Period::Second, 3)), AtomicU64::new(0));
        let passed = |now| (0..10).filter(|_| limiter.take(&bucket, 1, now)).count();
        assert_eq!(passed(0), 3);
        assert_eq!(passed(333_333_333), 0);
        assert_eq!(passed(333_333_334), 1);
        assert_eq!((1..=1000).map(|tenth| passed(333_333_334 + tenth * 100_000_000)).sum::<usize>(), 299);
    }

    #[test]
    fn the_clock_may_go_on_for_ever() {
        let (limiter, bucket) = (RateLimiter::new(&rate(1, Period::Hour, 5)), AtomicU64::new(0));
        for now in [0, 1 << 62, u64::MAX - 1, u64::MAX] {
            limiter.take(&bucket, 5, now);
        }
        assert!(!limiter.take(&AtomicU64::new(0), 6, 0), "more than a burst never comes in");
    }
}
