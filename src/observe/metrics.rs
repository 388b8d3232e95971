//! The metrics: one table says the name, the unit, the labels and the source of each. `/metrics` is written from it, and so are
//! `echod metrics --list` and the reference.
//!
//! No label has a value that a peer can influence. Every series exists from the first scrape on, at 0: a counter that appeared
//! with its first event would lose that event for `rate()`.

mod encode;
mod list;
mod look;
mod table;

pub use encode::{Format, encode};
pub use list::{listing, reference};
pub use table::METRICS;

use look::Look;

/// A metric. Its full name has its unit and, if it counts, `_total` behind [`Metric::stem`].
pub struct Metric {
    /// Its name without unit.
    pub stem: &'static str,
    /// Whether it counts, stands or spreads.
    pub kind: Kind,
    /// Its unit, if it has one.
    pub unit: Option<Measure>,
    /// The labels of its series.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    series: fn(&Look<'_>, &mut Series),
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by their size.
    Histogram,
}

/// The base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// The series of one metric: the values of its labels, and its own.
#[derive(Default)]
struct Series(Vec<(Vec<String>, Value)>);

enum Value {
    Count(u64),
    Number(f64),
    /// The values up to each bound and above the one before, then those above all; and their sum.
    Spread(Vec<u64>, f64),
}

impl Series {
    fn count(&mut self, labels: &[&str], count: u64) {
        self.push(labels, Value::Count(count));
    }

    fn number(&mut self, labels: &[&str], number: f64) {
        self.push(labels, Value::Number(number));
    }

    fn push(&mut self, labels: &[&str], value: Value) {
        self.0.push((labels.iter().map(|label| (*label).to_owned()).collect(), value));
    }
}

impl Metric {
    /// The name of its series.
    pub fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.word())).unwrap_or_default();
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.stem)
    }
}

impl Measure {
    fn word(self) -> &'static str {
        match self {
            Measure::Bytes => "bytes",
            Measure::Seconds => "seconds",
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_its_own_name_and_a_sentence() {
        let mut names = std::collections::BTreeSet::new();
        for metric in &METRICS {
            let name = metric.name();
            assert!(names.insert(name.clone()), "{name} twice");
            assert!(metric.help.ends_with('.') && metric.help.starts_with(char::is_alphanumeric), "{name}");
            assert!(!metric.stem.ends_with("_total") && !metric.stem.ends_with("_info_info"), "{name}");
        }
    }
}
