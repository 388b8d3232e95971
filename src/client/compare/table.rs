//! The comparison as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use super::{
    super::{
        measurement::Measurement,
        report::{columns, figures},
    },
    plan::Plan,
};

/// The table, and below it what was measured.
pub(super) fn text(measurement: &Measurement, plan: &Plan) -> String {
    let (headings, rows) = columns::comparison(measurement);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings).add_rows(rows);
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    let settings = &measurement.settings;
    let duration =
        measurement.targets.first().and_then(|target| target.rounds.first()).map(|round| round.duration);
    let round = duration.map_or_else(String::new, |duration| figures::time(duration.as_nanos() as f64));
    let load = match (settings.rate, settings.window) {
        (Some(rate), _) => format!("open loop of {}", figures::rate(rate as f64)),
        (None, window) => format!("closed loop, window {}", window.unwrap_or(1)),
    };
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
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
