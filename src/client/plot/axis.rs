//! What stands where along an axis, and its ticks.

use crate::report::figures;

/// An axis from 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows.
    pub(super) label: &'static str,
    /// Places and what is written there.
    pub(super) ticks: Vec<(f64, String)>,
    scale: Scale,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Part of all, by how few are left: 0, 90, 99, 99.9 % are equally far from each other. The number of decades.
    Percentile(f64),
    /// Decimal logarithms of the lowest and the highest value.
    Logarithm(f64, f64),
    /// Numbers from 0 on: even up to ten, and by their logarithm beyond. The logarithm of the highest plus ten.
    Numbers(f64),
}

/// Tens that are added to numbers, so that 0 has a place.
const EVEN: f64 = 10.0;

impl Axis {
    /// Percentiles up to the one beyond which the part `left` of all lies.
    pub(super) fn percentiles(left: f64) -> Axis {
        let decades = (-left.log10()).max(1.0);
        let scale = Scale::Percentile(decades);
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
        let mut ticks: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(nines, name)| (nines as f64 / decades, (*name).to_owned()))
            .filter(|(at, _)| *at <= 1.0)
            .collect();
        ticks.insert(1, (scale.at(0.5), "50 %".to_owned()));
        Axis { label: "percentile", ticks, scale }
    }

    /// Times in nanoseconds between two values.
    pub(super) fn times(label: &'static str, lowest: f64, highest: f64) -> Axis {
        let steps = [1.0, 2.0, 5.0];
        let all = (0..12).flat_map(|power| steps.map(|step| step * 10f64.powi(power)));
        let all: Vec<f64> = all.collect();
        let lowest = all.iter().rev().find(|step| **step <= lowest).copied().unwrap_or(1.0);
        let highest = all.iter().find(|step| **step >= highest).copied().unwrap_or(1e12).max(lowest * 10.0);
        let scale = Scale::Logarithm(lowest.log10(), highest.log10());
        let is_long = (highest / lowest).log10() > 3.5;
        let is_shown = |step: &f64| {
            let mantissa = step / 10f64.powf(step.log10().floor());
            (lowest..=highest).contains(step) && (!is_long || (mantissa - 1.0).abs() < 0.5)
        };
        let ticks = all.into_iter().filter(is_shown).map(|step| (scale.at(step), whole_time(step))).collect();
        Axis { label, ticks, scale }
    }

    /// Numbers, each of which has a tick.
    pub(super) fn numbers(label: &'static str, numbers: &[u32]) -> Axis {
        let highest = numbers.iter().copied().max().unwrap_or(1).max(1);
        let scale = Scale::Numbers((f64::from(highest) + EVEN).log10());
        let tick = |number: &u32| (scale.at(f64::from(*number)), figures::count(u64::from(*number)));
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for tick in numbers.iter().map(tick) {
            // Where it would be written over the one before it is left out.
            if ticks.last().is_none_or(|(last, _)| tick.0 - last > 0.06) {
                ticks.push(tick);
            }
        }
        Axis { label, ticks, scale }
    }

    /// The place of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.scale.at(value)
    }
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let at = match self {
            Scale::Percentile(decades) => -(1.0 - value).log10() / decades,
            Scale::Logarithm(lowest, highest) => (value.log10() - lowest) / (highest - lowest),
            Scale::Numbers(highest) => ((value + EVEN).log10() - 1.0) / (highest - 1.0),
        };
        at.clamp(0.0, 1.0)
    }
}

/// `20 µs`, as a tick has it.
fn whole_time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    let (size, unit) = units.into_iter().find(|(size, _)| nanoseconds >= *size).unwrap_or((1.0, "ns"));
    format!("{:.0} {unit}", nanoseconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn each_nine_has_the_same_way() {
        let axis = Axis::percentiles(1e-4);
        assert_eq!(names(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        for (part, place) in [(0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.999, 0.75), (1.0, 1.0)] {
            assert!((axis.at(part) - place).abs() < 1e-9, "{part}");
        }
        assert_eq!(names(&Axis::percentiles(0.5)), ["0 %", "50 %", "90 %"]);
    }

    #[test]
    fn times_begin_and_end_with_a_tick() {
        let axis = Axis::times("time", 16_300.0, 812_000.0);
        assert_eq!(names(&axis), ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        assert_eq!((axis.ticks[0].0, axis.ticks[6].0), (0.0, 1.0));
        let long = Axis::times("time", 900.0, 2e9);
        assert_eq!(names(&long), ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        // One value alone has room on both sides.
        assert_eq!(names(&Axis::times("time", 1000.0, 1000.0)), ["1 µs", "2 µs", "5 µs", "10 µs"]);
    }

    #[test]
    fn zero_has_a_place_among_numbers() {
        let axis = Axis::numbers("idle", &[0, 100, 1000, 9000]);
        assert_eq!(names(&axis), ["0", "100", "1,000", "9,000"]);
        let places: Vec<f64> = axis.ticks.iter().map(|(at, _)| *at).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 0.25), "{places:?}");
        assert_eq!(names(&Axis::numbers("idle", &[0])), ["0"]);
    }
}
