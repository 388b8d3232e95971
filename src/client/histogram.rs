//! Times, and which of their percentiles may be told.

use hdrhistogram::Histogram as Buckets;

/// The longest time that is told apart from longer ones: a minute.
const LONGEST: u64 = 60_000_000_000;

/// A percentile is told only if so many times lie beyond it: of fewer it is chance which one it is.
const BEYOND: f64 = 10.0;

/// The distribution of times in nanoseconds, to three digits, in memory that does not grow.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Buckets<u64>,
    /// Sums for the mean and the deviation of the times themselves, which the buckets round.
    sum: f64,
    squares: f64,
    extremes: Option<(u64, u64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = Buckets::new_with_bounds(1, LONGEST, 3).expect("these bounds are right");
        Self { buckets, sum: 0.0, squares: 0.0, extremes: None }
    }
}

impl Histogram {
    /// Adds a time. One longer than a minute counts as a minute in percentiles.
    pub fn record(&mut self, time: u64) {
        self.buckets.saturating_record(time.max(1));
        let (least, most) = self.extremes.unwrap_or((time, time));
        self.extremes = Some((least.min(time), most.max(time)));
        self.sum += time as f64;
        self.squares += (time as f64) * (time as f64);
    }

    /// Adds all times of another.
    pub fn add(&mut self, other: &Histogram) {
        // Both have the same bounds.
        let _ = self.buckets.add(&other.buckets);
        if let Some((least, most)) = other.extremes {
            let (own_least, own_most) = self.extremes.unwrap_or((least, most));
            self.extremes = Some((own_least.min(least), own_most.max(most)));
        }
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.buckets.len()
    }

    /// The shortest time.
    pub fn min(&self) -> Option<u64> {
        self.extremes.map(|(least, _)| least)
    }

    /// The longest time.
    pub fn max(&self) -> Option<u64> {
        self.extremes.map(|(_, most)| most)
    }

    /// The mean.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum / self.count() as f64)
    }

    /// The standard deviation of these times (not of a larger population: ping(8) calls it mdev).
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((self.squares / self.count() as f64 - mean * mean).max(0.0).sqrt())
    }

    /// The time that the part `q` of all does not exceed, if there are enough beyond it.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        // A hair less: 1 - 0.99 is not exactly 0.01.
        let is_told = self.count() as f64 * (1.0 - q) >= BEYOND - 1e-6;
        let (least, most) = self.extremes.filter(|_| is_told)?;
        let time = self.buckets.value_at_quantile(q);
        // The middle of its bucket.
        let middle = self.buckets.median_equivalent(time);
        Some(middle.clamp(least, most))
    }

    /// How many times lie in each bucket: its upper bound in nanoseconds, and the number of times up to it that are in no bucket
    /// before. The bounds rise.
    pub fn counts(&self, bounds: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let mut recorded = self.buckets.iter_recorded().peekable();
        let each = |bound| {
            let mut count = 0;
            while let Some(found) = recorded.next_if(|found| found.value_iterated_to() <= bound) {
                count += found.count_since_last_iteration();
            }
            (bound, count)
        };
        bounds.into_iter().map(each).collect()
    }

    /// Points of the distribution that get closer towards its end, five for each halving of what is left: a time, the part of all
    /// that does not exceed it, and how many these are.
    pub fn distribution(&self) -> impl Iterator<Item = (u64, f64, u64)> + '_ {
        let (least, most) = self.extremes.unwrap_or_default();
        let mut count = 0;
        self.buckets.iter_quantiles(5).map(move |point| {
            count += point.count_since_last_iteration();
            let time = self.buckets.median_equivalent(point.value_iterated_to());
            (time.clamp(least, most), point.quantile_iterated_to(), count)
        })
    }

    /// Every bucket that holds a time: its middle, and how many.
    pub fn recorded(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let of = |bucket: hdrhistogram::iterators::IterationValue<u64>| {
            (self.buckets.median_equivalent(bucket.value_iterated_to()), bucket.count_since_last_iteration())
        };
        self.buckets.iter_recorded().map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        times.into_iter().for_each(|time| histogram.record(time));
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_beyond_it() {
        let close = |found: Option<u64>, wanted: f64| {
            assert!((found.unwrap() as f64 / wanted - 1.0).abs() <= 0.001, "{found:?} is not {wanted}");
        };
        let thousand = of((1..=1000).map(|n| n * 1000));
        close(thousand.quantile(0.5), 500_000.0);
        close(thousand.quantile(0.99), 990_000.0);
        assert_eq!(thousand.quantile(0.999), None);
        assert_eq!(of(1..=19).quantile(0.5), None);
        assert!(of(1..=20).quantile(0.5).is_some());
        assert_eq!(of([]).quantile(0.5), None);
    }

    #[test]
    fn mean_and_extremes_are_those_of_the_times() {
        let times = of([1_000_003, 2_000_007, 6_000_011]);
        assert_eq!((times.min(), times.max()), (Some(1_000_003), Some(6_000_011)));
        assert_eq!(times.mean(), Some(9_000_021.0 / 3.0));
        assert!((of([2, 4, 4, 4, 5, 5, 7, 9]).deviation().unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let (mut one, other, both) = (of(1..=500), of(501..=1000), of(1..=1000));
        one.add(&other);
        assert_eq!((one.count(), one.mean(), one.quantile(0.9)), (1000, both.mean(), both.quantile(0.9)));
        assert_eq!((one.min(), one.max()), (Some(1), Some(1000)));
        assert_eq!(one.recorded().map(|(_, count)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn a_time_of_hours_is_a_minute_in_percentiles() {
        let long = of(std::iter::repeat_n(7_200_000_000_000, 100));
        assert_eq!((long.count(), long.max()), (100, Some(7_200_000_000_000)));
        assert!(long.quantile(0.5).unwrap() >= 60_000_000_000);
    }

    #[test]
    fn buckets_hold_every_time_once() {
        let times = of([10, 20, 30, 400]);
        assert_eq!(times.counts([15, 100, u64::MAX]), [(15, 1), (100, 2), (u64::MAX, 1)]);
    }

    #[test]
    fn points_of_the_distribution_rise_to_the_longest_time() {
        let times = of((1..=1000).map(|n| n * 1000));
        let points: Vec<_> = times.distribution().collect();
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{points:?}");
        assert_eq!(points.last(), Some(&(1_000_000, 1.0, 1000)));
        assert_eq!(of([]).distribution().count(), 0);
    }
}
