//! What a run has found out, for the report.

use std::time::{Duration, SystemTime};

use super::{setup::Course, summary};
use crate::client::{
    measurement::{Measurement, Model, Settings, TargetResult, Warning},
    options::Ping,
};

/// More skipped probes than this part of all, and the plan was not held.
const SKIPPED: f64 = 0.001;

/// Everything about a run.
pub(super) fn measurement(
    options: &Ping,
    courses: &[Course],
    started: SystemTime,
    waited: Duration,
    hurried: u64,
) -> Measurement {
    let settings = Settings {
        size: options.size,
        timeout: options.timeout,
        interval: Some(options.interval),
        connections: u32::from(options.flows),
        rounds: 1,
        ..Settings::default()
    };
    let has_stamps = courses.iter().any(|course| course.timestamps() == "kernel");
    let first = courses.iter().filter_map(|course| course.books.first_sent).min().unwrap_or_default();
    let last = courses.iter().map(|course| course.books.last_event).max().unwrap_or_default();
    Measurement {
        kind: "ping",
        started,
        duration: Duration::from_nanos(last.saturating_sub(first)).max(waited),
        warm_up: Duration::ZERO,
        timestamps: if has_stamps { "kernel" } else { "user" },
        settings,
        targets: courses.iter().map(result).collect(),
        warnings: warnings(courses, hurried),
    }
}

fn result(course: &Course) -> TargetResult {
    let (books, connections) = (&course.books, course.wire.connections());
    let fates = books.fates;
    let errors =
        [("TIMEOUT", fates.lost), ("REFUSED", fates.refused), ("OTHER", books.other_errors + fates.unsent)];
    // Without several source ports a target is one flow, and that is the target.
    let flows = if books.flows().len() > 1 { books.flows().copied().collect() } else { Vec::new() };
    TargetResult {
        fates,
        replies: books.replies,
        service: books.service.clone(),
        connect: connections.connect.cloned(),
        close: connections.close.cloned(),
        ipdv: Some(books.ipdv.clone()),
        schedule_error: Some(books.schedule_error.clone()),
        first: books.first,
        ttl: summary::ttl(books),
        flows,
        errors: errors.into_iter().filter(|(_, count)| *count > 0).collect(),
        ..TargetResult::new(course.target.clone(), Model::Open)
    }
}

fn warnings(courses: &[Course], hurried: u64) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |id, is_fatal, text| warnings.push(Warning { id, text, is_fatal });
    for Course { target, books, wire, .. } in courses {
        let (url, fates) = (&target.url, &books.fates);
        let dropped = wire.dropped();
        if dropped > 0 {
            warn(
                "client-limited",
                true,
                format!("{url}: this machine dropped {dropped} answers before they were read"),
            );
        }
        if fates.skipped as f64 > SKIPPED * fates.planned as f64 {
            let (skipped, planned) = (fates.skipped, fates.planned);
            warn(
                "schedule-not-held",
                true,
                format!("{url}: {skipped} of {planned} probes could not be sent as planned"),
            );
        }
        if books.steps > 0 {
            let steps = books.steps;
            warn(
                "clock-stepped",
                true,
                format!(
                    "{url}: the clock of this machine was set, so {steps} stamps of the kernel were not used"
                ),
            );
        }
        if let Some(dead) = summary::dead_flows(books) {
            let all = books.flows().len();
            warn("dead-flows", false, format!("{url}: {dead} of {all} flows lost everything"));
        }
        if let Some(step) = books.step_of_losses() {
            warn("loop-guard", false, format!("{url}: {}", summary::guarded(step)));
        }
    }
    if hurried > 0 {
        warn(
            "hurried",
            false,
            format!("ended while {hurried} probes were still within their time; they count as lost"),
        );
    }
    warnings
}
