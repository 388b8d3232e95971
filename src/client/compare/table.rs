//! The comparison as a table for people.

use super::{
    super::{measurement::Measurement, report::columns},
    plan::Plan,
};
use crate::report::figures;

/// The table, and below it what was measured.
pub(super) fn text(measurement: &Measurement, plan: &Plan) -> String {
    let (headings, rows) = columns::comparison(measurement);
    let settings = &measurement.settings;
    let duration =
        measurement.targets.first().and_then(|target| target.rounds.first()).map(|round| round.duration);
    let round = duration.map_or_else(String::new, |duration| figures::time(duration.as_nanos() as f64));
    let load = match (settings.rate, settings.window) {
        (Some(rate), _) => format!("open loop of {}", figures::rate(rate as f64)),
        (None, window) => format!("closed loop, window {}", window.unwrap_or(1)),
    };
    let mut lines = aligned(&headings, &rows);
    lines.push(format!(
        "{}, {} connection{}, {} bytes, {load}, {} round{} of {round} in turn; client and servers on this machine",
        plan.protocol,
        settings.connections,
        if settings.connections == 1 { "" } else { "s" },
        settings.size,
        settings.rounds,
        if settings.rounds == 1 { "" } else { "s" },
    ));
    let mut servers = measurement.targets.iter().filter_map(|target| target.server.as_ref());
    lines.push(match servers.any(|server| server.calls_per_echo.is_some()) {
        true => {
            "system calls were counted by strace(1) in runs of their own, without idle connections".to_owned()
        }
        false => "system calls are not counted: that takes strace(1), and the permission to trace".to_owned(),
    });
    lines.join("\n") + "\n"
}

/// Headings and rows in columns: the first one to the left, figures to the right.
fn aligned(headings: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let all = || std::iter::once(headings).chain(rows.iter().map(Vec::as_slice));
    let length = |cell: &String| cell.chars().count();
    let width = |at: usize| all().filter_map(|row| row.get(at)).map(length).max().unwrap_or_default();
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &[String]| {
        let mut line = String::new();
        for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => line += &format!(" {cell:<width$} "),
                _ => line += &format!(" {cell:>width$} "),
            }
        }
        line.trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_below_each_other() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = aligned(
            &row(["mode", "p50", "p99"]),
            &[row(["epoll", "9 µs", "-"]), row(["poll", "1.23 ms", "5 ms"])],
        );
        assert_eq!(lines, [" mode       p50   p99", " epoll     9 µs     -", " poll   1.23 ms  5 ms"]);
    }
}
