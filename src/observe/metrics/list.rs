//! The table for people: `echod metrics --list`, and the reference.

use super::{METRICS, Metric};

/// A line for each metric: name, type, labels, help.
pub fn listing() -> String {
    let width = |of: fn(&Metric) -> usize| METRICS.iter().map(of).max().unwrap_or_default();
    let names = width(|metric| metric.name().len());
    let labels = width(|metric| metric.labels.join(",").len());
    let line = |metric: &Metric| {
        let (name, kind, of) = (metric.name(), metric.kind.word(), metric.labels.join(","));
        format!("{name:names$}  {kind:9}  {of:labels$}  {}\n", metric.help)
    };
    METRICS.iter().map(line).collect()
}

/// The same as a table of Markdown.
pub fn reference() -> String {
    let row = |metric: &Metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name(),
            metric.kind.word(),
            labels.join(", "),
            metric.help
        )
    };
    "| metric | type | labels | what it says |\n|---|---|---|---|\n".to_owned()
        + &METRICS.iter().map(row).collect::<String>()
}
