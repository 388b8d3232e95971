//! `echod bench --compare`: the modes of this daemon beside each other, on the same machine and under the same load.
//!
//! In: the options of `bench`. Out: a `Measurement` with a row for each mode (or variant of one) and number of idle connections. Each mode is served by
//! a process of its own, which this program starts of itself and ends. Rounds go in turn over all rows, so that whatever drifts
//! (temperature, frequency, other programs) hits all of them alike.
//!
//! Read `plan` (which rows there are, and which there cannot be), `server` (a daemon that is started and ended), `processes` (what it
//! costs, from /proc), `calls` (how many system calls it makes, where strace(1) can tell), and `table` (what is printed).

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::SystemTime};

use super::{
    bench::{self, Progress, ProgressStep},
    measurement::{Measurement, Server, TargetResult, Warning},
    options::Bench,
    plot, report,
    target::{Families, Target},
};
use crate::report::error::{Exit, Failure};

mod calls;
mod plan;
mod processes;
mod server;
mod table;

use self::{
    plan::{Plan, Row},
    processes::{Processes, Usage},
    server::Daemon,
};

/// A warm-up before the first round of a mode; this part of it before the others, for connections that are new.
const LATER_WARM_UPS: u32 = 10;

/// Measures all rows, and prints the report.
///
/// # Errors
/// The exit code of the run, if it is not 0.
pub fn run(options: &Bench) -> Result<(), Failure> {
    let plan = Plan::of(options)?;
    let conditions = report::prepare(&options.common)?;
    plot::prepare(options.plot.as_deref())?;
    let measurement = measure(&plan, options, &mut bench::progress(options)?)?;
    let concluded =
        report::conclude(&measurement, &options.common, &conditions, &table::text(&measurement, &plan));
    plot::save_to(options.plot.as_deref(), &measurement)?;
    concluded
}

/// A row with what is known of it so far.
struct Progressing<'a> {
    row: &'a Row,
    result: Option<TargetResult>,
}

fn measure(plan: &Plan, options: &Bench, progress: &mut dyn Progress) -> Result<Measurement, Failure> {
    let started = SystemTime::now();
    let mut warnings = Warnings::default();
    plan.left_out.iter().for_each(|text| warnings.left_out(text.clone()));
    let mut daemons = BTreeMap::new();
    for variant in &plan.variants {
        match Daemon::start(plan, *variant) {
            Ok(daemon) => _ = daemons.insert(variant.to_string(), daemon),
            Err(why) => warnings.left_out(format!("{variant}: {why}")),
        }
    }
    let mut rows: Vec<_> = plan.rows.iter().map(|row| Progressing { row, result: None }).collect();
    rows.retain(|row| daemons.contains_key(&row.row.variant.to_string()));
    for round in 1..=options.rounds {
        for row in &mut rows {
            let Some(daemon) = daemons.get(&row.row.variant.to_string()) else { continue };
            // A row that could not be measured once is not tried again.
            let is_out = round > 1 && row.result.is_none();
            if is_out || progress.stop().load(Relaxed) {
                continue;
            }
            match cell(daemon, row.row, options, round, progress, &mut warnings) {
                Ok(found) => match &mut row.result {
                    Some(all) => all.add(found),
                    None => row.result = Some(found),
                },
                Err(failure) => warnings.left_out(format!("{}: {}", row.row, failure.plain())),
            }
        }
    }
    let mut targets: Vec<_> = rows.into_iter().filter_map(|row| row.result).collect();
    if targets.is_empty() {
        let why = warnings.all.first().map_or("it was stopped", |warning| warning.text.as_str());
        return Err(Failure::new(Exit::Unavailable, format!("cannot compare: nothing was measured: {why}")));
    }
    calls::count(&daemons, &mut targets, options, progress);
    let durations = targets.iter().flat_map(|target| &target.rounds).map(|round| round.duration);
    Ok(Measurement {
        kind: "compare",
        started,
        duration: durations.sum(),
        warm_up: options.warm_up,
        timestamps: "user",
        settings: plan.settings(options),
        targets,
        warnings: warnings.all,
    })
}

/// One round of one row.
fn cell(
    daemon: &Daemon,
    row: &Row,
    options: &Bench,
    round: u32,
    progress: &mut dyn Progress,
    warnings: &mut Warnings,
) -> Result<TargetResult, Failure> {
    let mut own = options.clone();
    (own.rounds, own.idle, own.compare) = (1, Vec::from_iter((row.idle > 0).then_some(row.idle)), None);
    if round > 1 {
        own.warm_up /= LATER_WARM_UPS;
    }
    let target = Target::read("bench", &daemon.url, Families::Any)?;
    let what = format!("{row}, round {round} of {}", options.rounds);
    let mut meter = Meter { inner: progress, processes: &daemon.processes, what, before: None, usage: None };
    let mut found = bench::measure(&[target], &own, &mut meter)?;
    let usage = meter.usage;
    warnings.add(found.warnings, row);
    let Some(mut result) = found.targets.pop() else {
        return Err(Failure::new(Exit::Internal, "a bench of one target has no result"));
    };
    let usage = usage.unwrap_or_default();
    result.server = Some(Server {
        mode: row.variant.to_string(),
        idle: row.idle,
        cpu: usage.cpu,
        echoes: result.fates.ok + result.fates.late,
        calls_per_echo: None,
        memory: usage.memory,
        descriptors: usage.descriptors,
        processes: usage.processes,
    });
    Ok(result)
}

/// Reads what a server has used, before and after the part of a run that is measured: the last of its steps.
struct Meter<'a> {
    inner: &'a mut dyn Progress,
    processes: &'a Processes,
    what: String,
    before: Option<Usage>,
    usage: Option<Usage>,
}

impl Progress for Meter<'_> {
    fn begin(&mut self, step: &ProgressStep) {
        let what = match step.what.as_str() {
            "warm-up" => format!("{}, warm-up", self.what),
            _ => self.what.clone(),
        };
        self.inner.begin(&ProgressStep { what, lasts: step.lasts });
        self.before = Some(Usage { cpu: self.processes.cpu(), ..Usage::default() });
    }

    fn end(&mut self) {
        let before = self.before.take().unwrap_or_default();
        let cpu = self.processes.cpu().saturating_sub(before.cpu);
        self.usage = Some(Usage { cpu, ..self.processes.usage() });
        self.inner.end();
    }

    fn stop(&self) -> &std::sync::atomic::AtomicBool {
        self.inner.stop()
    }
}

/// The warnings of all cells: each kind is told once.
#[derive(Default)]
struct Warnings {
    all: Vec<Warning>,
}

impl Warnings {
    fn left_out(&mut self, text: String) {
        self.all.push(Warning { id: "left-out", text, is_fatal: false });
    }

    fn add(&mut self, found: Vec<Warning>, row: &Row) {
        for mut warning in found {
            if self.all.iter().any(|other| other.id == warning.id) {
                continue;
            }
            // What is true of every closed loop is no matter of a row.
            if warning.is_fatal {
                warning.text = format!("{row}, and perhaps others: {}", warning.text);
            }
            self.all.push(warning);
        }
    }
}
