//! What rounds come to: distributions and books are added, nothing is averaged.

use std::time::{Duration, SystemTime};

use super::{
    super::{
        histogram::Histogram,
        measurement::{Measurement, Model, Round, Settings, TargetResult, Warning},
        options::Bench,
        target::Target,
    },
    doubts::closed_loop,
    engine::RoundOutcome,
};

/// What the rounds of one target come to.
pub(super) fn result(
    target: Target,
    connect: Option<Histogram>,
    outcomes: Vec<RoundOutcome>,
) -> TargetResult {
    let is_open = outcomes.iter().any(|outcome| outcome.tally.open.is_some());
    let mut result = TargetResult::new(target, if is_open { Model::Open } else { Model::Closed });
    result.connect = connect.filter(|connect| connect.count() > 0);
    for RoundOutcome { tally, duration, busy, .. } in outcomes {
        result.fates.add(&tally.fates);
        result.replies.add(&tally.replies);
        result.service.add(&tally.service);
        for (word, count) in tally.errors {
            *result.errors.entry(word).or_default() += count;
        }
        let response = tally.open.map(|open| {
            result.schedule_error.get_or_insert_default().add(&open.schedule_error);
            result.response.get_or_insert_default().add(&open.response);
            open.response
        });
        result.rounds.push(Round {
            duration: Duration::from_nanos(duration),
            fates: tally.fates,
            response,
            service: tally.service,
            cpu: Duration::from_nanos(busy),
        });
    }
    result
}

/// What all targets come to.
pub(super) fn summary(
    options: &Bench,
    targets: Vec<TargetResult>,
    mut warnings: Vec<Warning>,
    started: SystemTime,
) -> Measurement {
    if options.rate.is_none() {
        warnings.push(closed_loop());
    }
    let of_one = |result: &TargetResult| result.rounds.iter().map(|round| round.duration).sum();
    Measurement {
        kind: "bench",
        started,
        duration: targets.iter().map(of_one).max().unwrap_or_default(),
        warm_up: options.warm_up,
        timestamps: "user",
        settings: settings(options),
        targets,
        warnings,
    }
}

/// What was asked for, as the report tells it.
pub fn settings(options: &Bench) -> Settings {
    Settings {
        size: options.size,
        timeout: options.timeout,
        interval: None,
        rate: options.rate,
        connections: options.connections,
        window: options.rate.is_none().then_some(options.window),
        rounds: options.rounds,
        idle: options.idle.first().copied().unwrap_or_default(),
    }
}
