//! The report of a bench as people read it.

use std::{fmt::Write, time::Duration};

use super::super::{
    histogram::Histogram,
    measurement::{Measurement, Model, TargetResult},
};
use crate::report::figures::{self, count, rate, share};

/// The percentiles of the table.
const COLUMNS: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Characters of a bar that stands for all times.
const BAR: f64 = 46.0;

/// The whole text.
pub(super) fn text(measurement: &Measurement) -> String {
    let mut text = String::new();
    for target in &measurement.targets {
        // A string takes whatever is written to it.
        let _ = of_target(&mut text, measurement, target);
    }
    text
}

fn of_target(text: &mut String, measurement: &Measurement, target: &TargetResult) -> std::fmt::Result {
    writeln!(text, "{}", headline(measurement, target))?;
    let fates = &target.fates;
    let duration: Duration = target.rounds.iter().map(|round| round.duration).sum();
    let a_second = |number: u64| rate(number as f64 / duration.as_secs_f64().max(1e-9));
    let left_out = [("skipped", fates.skipped), ("unsent", fates.unsent)];
    let plan = match target.model {
        Model::Open => format!("   (planned {}, skipped {})", count(fates.planned), count(fates.skipped)),
        Model::Closed => String::new(),
    };
    let unsent = match (target.model, left_out[1].1) {
        (_, 0) => String::new(),
        (_, unsent) => format!("   unsent {}", count(unsent)),
    };
    writeln!(text, "  sent     {:>12}  {:>12}{plan}{unsent}", count(fates.sent()), a_second(fates.sent()))?;
    let (answered, replies) = (fates.ok + fates.late, &target.replies);
    write!(
        text,
        "  answered {:>12}  {:>12}   ok {}, late {}, lost {}, corrupt {}",
        count(answered),
        a_second(answered),
        share(fates.ok, fates.sent()),
        count(fates.late),
        count(fates.lost),
        count(replies.corrupt),
    )?;
    let rare = [
        ("refused", fates.refused),
        ("duplicate", replies.duplicate),
        ("reordered", replies.reordered),
        ("stray", replies.stray),
        ("sent again by TCP", replies.retransmitted),
    ];
    for (word, number) in rare.iter().filter(|(_, number)| *number > 0) {
        write!(text, ", {word} {}", count(*number))?;
    }
    text.push('\n');
    table(text, target)?;
    rounds(text, target, duration)?;
    bars(text, target.response.as_ref().unwrap_or(&target.service))
}

/// What was asked for, in one line.
fn headline(measurement: &Measurement, target: &TargetResult) -> String {
    let settings = &measurement.settings;
    let sockets = if target.target.protocol.is_stream() { "connection" } else { "source port" };
    let plural = |number: u64, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{} {word}s", count(number)),
    };
    let mut line = format!(
        "{}  {}, {}",
        target.target.url,
        plural(settings.connections.into(), sockets),
        plural(settings.size as u64, "byte")
    );
    let _ = match (settings.rate, settings.window) {
        (Some(asked), _) => write!(line, ", open loop {}", rate(asked as f64)),
        (None, window) => write!(line, ", closed loop, window {}", window.unwrap_or(1)),
    };
    if settings.idle > 0 {
        let _ = write!(line, ", {} beside", plural(settings.idle.into(), "silent connection"));
    }
    let rounds = target.rounds.len() as u64;
    let each: Duration =
        target.rounds.iter().map(|round| round.duration).sum::<Duration>() / rounds.max(1) as u32;
    let _ = write!(line, ", {} of {}", plural(rounds, "round"), figures::time(each.as_nanos() as f64));
    if !measurement.warm_up.is_zero() {
        let _ = write!(line, " after {} of warm-up", figures::time(measurement.warm_up.as_nanos() as f64));
    }
    line
}

/// The times, each with its number. A percentile that fewer than ten times lie beyond is left out.
fn table(text: &mut String, target: &TargetResult) -> std::fmt::Result {
    write!(text, "  {:<9}", "time")?;
    for name in COLUMNS.map(|(name, _)| name).into_iter().chain(["max"]) {
        write!(text, "{name:>10}")?;
    }
    writeln!(text, "{:>13}", "n")?;
    let rows = [
        ("response", target.response.as_ref(), "   from the planned moment"),
        ("service", Some(&target.service), "   from the actual send"),
        ("connect", target.connect.as_ref(), ""),
    ];
    for (name, times, meaning) in rows {
        let Some(times) = times else { continue };
        let meaning = if target.response.is_some() { meaning } else { "" };
        write!(text, "  {name:<9}")?;
        for figure in COLUMNS.map(|(_, q)| times.quantile(q)).into_iter().chain([times.max()]) {
            write!(text, "{:>10}", figure.map_or("-".to_owned(), |time| figures::time(time as f64)))?;
        }
        writeln!(text, "{:>13}{meaning}", count(times.count()))?;
    }
    Ok(())
}

/// How much the rounds differ, and how well the client did.
fn rounds(text: &mut String, target: &TargetResult, duration: Duration) -> std::fmt::Result {
    let p99 = |times: &Histogram| times.quantile(0.99);
    let mut each: Vec<u64> = target
        .rounds
        .iter()
        .filter_map(|round| p99(round.response.as_ref().unwrap_or(&round.service)))
        .collect();
    each.sort_unstable();
    let mut line = String::new();
    if let (2.., [least, .., most]) = (target.rounds.len(), each.as_slice()) {
        let middle = each[each.len() / 2];
        let time = |time: u64| figures::time(time as f64);
        let spread = (most - least) as f64 / middle.max(1) as f64 * 100.0;
        write!(
            line,
            "p99 {} / {} / {} (spread {spread:.0} %)     ",
            time(*least),
            time(middle),
            time(*most)
        )?;
    }
    let busy: Duration = target.rounds.iter().map(|round| round.cpu).sum();
    let cpu = busy.as_secs_f64() / duration.as_secs_f64().max(1e-9) * 100.0;
    let error = target.schedule_error.as_ref().and_then(p99);
    let error = error
        .map_or_else(String::new, |error| format!("schedule error p99 {}, ", figures::time(error as f64)));
    writeln!(text, "  rounds    {line}client: {error}CPU {cpu:.0} %")
}

/// The distribution: a bar for each bucket, from the first to the last that holds a time.
fn bars(text: &mut String, times: &Histogram) -> std::fmt::Result {
    let decades = (3..11).map(|exponent| 10_u64.pow(exponent));
    let bounds = decades.flat_map(|decade| [decade, 2 * decade, 5 * decade]).chain([u64::MAX]);
    let buckets = times.counts(bounds);
    let holds = |(_, number): &(u64, u64)| *number > 0;
    let (Some(first), Some(last)) = (buckets.iter().position(holds), buckets.iter().rposition(holds)) else {
        return Ok(());
    };
    for (bound, number) in &buckets[first..=last] {
        let label = match *bound {
            u64::MAX => "longer".to_owned(),
            bound => format!("to {}", figures::time(bound as f64)),
        };
        let bar = "#".repeat((*number as f64 / times.count() as f64 * BAR).round() as usize);
        writeln!(text, "  {label:>12} |{bar:<46} {:>10}", share(*number, times.count()))?;
    }
    Ok(())
}
