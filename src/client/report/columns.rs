//! The report as a table: CSV for programs, Markdown for people.

use super::quantity::{QUANTILES, rate_of, times};
use crate::client::{
    histogram::Histogram,
    measurement::{Measurement, Model, TargetResult},
};
use crate::report::figures;

/// A column: its heading, and what stands in it; nothing if the run cannot tell.
type Column = (String, Box<dyn Fn(&Measurement, &TargetResult) -> Option<String>>);

/// A line for each target below a line of headings (RFC 4180). Times are whole nanoseconds, as in the JSON report.
pub fn csv(measurement: &Measurement) -> String {
    let columns = columns(measurement.targets.iter().any(|target| target.server.is_some()));
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let mut text = line(columns.iter().map(|(name, _)| name.clone()).collect());
    for target in &measurement.targets {
        let cell = |(_, value): &Column| quoted(value(measurement, target).unwrap_or_default());
        text.push_str(&line(columns.iter().map(cell).collect()));
    }
    text
}

fn quoted(cell: String) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

fn column<V: ToString>(
    name: &str,
    value: impl Fn(&Measurement, &TargetResult) -> Option<V> + 'static,
) -> Column {
    (
        name.to_owned(),
        Box::new(move |measurement, target| value(measurement, target).map(|value| value.to_string())),
    )
}

fn columns(with_server: bool) -> Vec<Column> {
    let whole = |time: Option<f64>| time.map(|time| time.round() as u64);
    let mut columns = vec![
        column("url", |_, t| Some(t.target.url.clone())),
        column("model", |_, t| Some(if t.model == Model::Open { "open" } else { "closed" })),
    ];
    if with_server {
        columns.extend([
            column("mode", |_, t| Some(t.server.as_ref()?.mode.clone())),
            column("idle", |_, t| Some(t.server.as_ref()?.idle)),
            column("cpu_per_echo_ns", move |_, t| whole(t.server.as_ref()?.cpu_per_echo())),
            column("calls_per_echo", |_, t| t.server.as_ref()?.calls_per_echo),
            column("memory_bytes", |_, t| t.server.as_ref()?.memory),
            column("descriptors", |_, t| t.server.as_ref()?.descriptors),
        ]);
    }
    columns.extend([
        column("planned", |_, t| Some(t.fates.planned)),
        column("sent", |_, t| Some(t.fates.sent())),
        column("ok", |_, t| Some(t.fates.ok)),
        column("late", |_, t| Some(t.fates.late)),
        column("lost", |_, t| Some(t.fates.lost)),
        column("refused", |_, t| Some(t.fates.refused)),
        column("unsent", |_, t| Some(t.fates.unsent)),
        column("skipped", |_, t| Some(t.fates.skipped)),
        column("duplicate", |_, t| Some(t.replies.duplicate)),
        column("reordered", |_, t| Some(t.replies.reordered)),
        column("corrupt", |_, t| Some(t.replies.corrupt)),
        column("stray", |_, t| Some(t.replies.stray)),
        column("retransmitted", |_, t| Some(t.replies.retransmitted)),
        column("rate_per_s", |m, t| rate_of(m, t).map(|rate| format!("{rate:.3}"))),
    ]);
    columns.extend(of_times("response", whole, |t| t.response.as_ref()));
    columns.extend(of_times("service", whole, |t| Some(&t.service)));
    columns
}

fn of_times(
    name: &str,
    whole: fn(Option<f64>) -> Option<u64>,
    times: fn(&TargetResult) -> Option<&Histogram>,
) -> Vec<Column> {
    let mut columns = vec![
        column(&format!("{name}_n"), move |_, t| Some(times(t)?.count())),
        column(&format!("{name}_min_ns"), move |_, t| times(t)?.min()),
        column(&format!("{name}_mean_ns"), move |_, t| whole(times(t)?.mean())),
        column(&format!("{name}_max_ns"), move |_, t| times(t)?.max()),
    ];
    let quantile = |q: f64| column(&format!("{name}_p{}_ns", percent(q)), move |_, t| times(t)?.quantile(q));
    columns.extend(QUANTILES.map(quantile));
    columns
}

/// A quantile as it is named: `50`, `99.9`.
pub fn percent(quantile: f64) -> String {
    // Without the last bits of the product.
    format!("{}", (quantile * 1e7).round() / 1e5)
}

/// A table with a row for each target.
pub fn markdown(measurement: &Measurement) -> String {
    let is_comparison = measurement.targets.iter().any(|target| target.server.is_some());
    let (headings, rows) = if is_comparison { comparison(measurement) } else { summary(measurement) };
    let line = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&headings);
    text.push_str(&format!("|---|{}\n", "---:|".repeat(headings.len() - 1)));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

/// Headings, and a row of cells for each target.
type Rows = (Vec<String>, Vec<Vec<String>>);

fn rows(measurement: &Measurement, headings: &[&str], row: impl Fn(&TargetResult) -> Vec<String>) -> Rows {
    (
        headings.iter().map(|heading| (*heading).to_owned()).collect(),
        measurement.targets.iter().map(row).collect(),
    )
}

fn summary(measurement: &Measurement) -> Rows {
    let headings = ["target", "sent", "answered", "loss", "rate", "p50", "p90", "p99", "p99.9", "max", "n"];
    rows(measurement, &headings, |target| {
        let (fates, times) = (&target.fates, times(target));
        vec![
            target.target.url.clone(),
            figures::count(fates.sent()),
            figures::count(fates.ok + fates.late),
            figures::share(fates.lost + fates.refused, fates.sent()),
            or_dash(rate_of(measurement, target), figures::rate),
            time(times.quantile(0.5)),
            time(times.quantile(0.9)),
            time(times.quantile(0.99)),
            time(times.quantile(0.999)),
            time(times.max()),
            figures::count(times.count()),
        ]
    })
}

/// The servers of a comparison, for people: columns that nothing could fill are left out.
pub fn comparison(measurement: &Measurement) -> Rows {
    let headings = [
        "mode",
        "idle",
        "echoes/s",
        "p50",
        "p99",
        "p99.9",
        "n",
        "CPU an echo",
        "calls an echo",
        "memory",
        "descriptors",
        "processes",
    ];
    let (headings, mut rows) = rows(measurement, &headings, |target| {
        let times = times(target);
        let Some(server) = &target.server else { return Vec::new() };
        vec![
            server.mode.clone(),
            figures::count(server.idle.into()),
            or_dash(rate_of(measurement, target), |rate| figures::count(rate.round() as u64)),
            time(times.quantile(0.5)),
            time(times.quantile(0.99)),
            time(times.quantile(0.999)),
            figures::count(times.count()),
            or_dash(server.cpu_per_echo(), figures::time),
            or_dash(server.calls_per_echo, |calls| format!("{calls:.2}")),
            or_dash(server.memory, figures::bytes),
            or_dash(server.descriptors, figures::count),
            figures::count(server.processes.into()),
        ]
    });
    rows.retain(|row| !row.is_empty());
    let is_told = |column: &usize| rows.iter().any(|row| row[*column] != "-");
    let kept: Vec<usize> = (0..headings.len()).filter(is_told).collect();
    let of = |row: &Vec<String>| kept.iter().map(|column| row[*column].clone()).collect();
    (of(&headings), rows.iter().map(of).collect())
}

fn time(time: Option<u64>) -> String {
    or_dash(time, |time| figures::time(time as f64))
}

fn or_dash<V>(value: Option<V>, written: impl Fn(V) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    #[test]
    fn each_line_has_a_cell_for_each_heading() {
        let mut measurement = sample::measurement(1000);
        measurement.targets[0].target.url = "unix:/a,b\"c".to_owned();
        let text = csv(&measurement);
        let (headings, line) = text.trim_end().split_once("\r\n").unwrap();
        assert!(line.starts_with("\"unix:/a,b\"\"c\",closed,1000,1000,1000,0,"), "{line}");
        let cells: Vec<_> =
            line.rsplit(',').zip(headings.rsplit(',')).map(|(cell, heading)| (heading, cell)).collect();
        let of = |heading: &str| cells.iter().find(|(found, _)| *found == heading).unwrap().1;
        assert_eq!((of("rate_per_s"), of("service_min_ns"), of("service_p99.9_ns")), ("100.000", "1000", ""));
        assert_eq!((of("service_n"), of("response_n"), of("service_p50_ns")), ("1000", "", "500096"));
    }

    #[test]
    fn the_table_tells_no_percentile_of_too_few_times() {
        let text = markdown(&sample::measurement(1000));
        let row = text.lines().last().unwrap();
        assert_eq!(
            row,
            "| tcp://127.0.0.1:7 | 1,000 | 1,000 | 0 % | 100/s | 500 µs | 900 µs | 990 µs | - | 1.00 ms | 1,000 |"
        );
    }

    #[test]
    fn percentiles_are_named_in_percent() {
        assert_eq!(QUANTILES.map(percent), ["50", "90", "95", "99", "99.9", "99.99", "99.999"]);
    }
}
