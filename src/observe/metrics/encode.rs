//! `/metrics`: the table as text, in one of two formats.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, prometheus_text, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::{Kind, METRICS, Measure, Metric, Series, Value, look::Look};
use crate::{
    observe::{process, requests::Seen},
    report::stats::DURATION_BOUNDS,
};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a client accepts.
    pub fn accepted(accept: &str) -> Format {
        let asked = accept.split(',').any(|kind| kind.trim().starts_with("application/openmetrics-text"));
        if asked { Format::OpenMetrics } else { Format::Text }
    }

    /// The header `Content-Type`.
    pub fn kind(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics.
///
/// # Errors
/// If the encoder refuses a value.
pub fn encode(seen: &Seen<'_>, format: Format) -> Result<String, fmt::Error> {
    let look = Look { seen, process: process::figures(seen.daemon) };
    let all = METRICS.iter().map(|metric| {
        let mut series = Series::default();
        (metric.series)(&look, &mut series);
        (metric, series)
    });
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::new(all.collect()))));
    let mut written = String::new();
    match format {
        Format::Text => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

/// The values of one scrape.
struct Scrape(Arc<Vec<(&'static Metric, Series)>>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (metric, Series(series)) in self.0.iter() {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let unit = metric.unit.map(|unit| match unit {
                Measure::Bytes => Unit::Bytes,
                Measure::Seconds => Unit::Seconds,
            });
            // A metric that no listener has is left out whole.
            if series.is_empty() {
                continue;
            }
            let mut family = encoder.encode_descriptor(metric.stem, metric.help, unit.as_ref(), kind)?;
            for (values, value) in series {
                let labels = metric.labels.iter().copied().zip(values.iter().map(String::as_str));
                let labels: Vec<(&str, &str)> = labels.collect();
                match labels.is_empty() {
                    true => write(&mut family, metric.kind, value)?,
                    false => write(&mut family.encode_family(&labels)?, metric.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(to: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    /// No exemplars are written.
    const NO_EXEMPLAR: Option<&Exemplar<Vec<(&str, &str)>, f64>> = None;
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => to.encode_counter(count, NO_EXEMPLAR),
        (Kind::Counter, Value::Number(number)) => to.encode_counter(number, NO_EXEMPLAR),
        (_, Value::Count(count)) => to.encode_gauge(count),
        (_, Value::Number(number)) => to.encode_gauge(number),
        (_, Value::Spread(counts, sum)) => {
            let bounds = DURATION_BOUNDS.iter().map(std::time::Duration::as_secs_f64).chain([f64::INFINITY]);
            let counts = counts.iter().copied().chain(std::iter::repeat(0));
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            to.encode_histogram::<Vec<(&str, &str)>>(*sum, count, &buckets, None)
        }
    }
}
