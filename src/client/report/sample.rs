//! Runs for the tests of the report.

use std::time::{Duration, UNIX_EPOCH};

use crate::client::{
    measurement::{Measurement, Model, Settings, TargetResult},
    target::{Families, Target},
};

/// Ten seconds of a closed loop with `answers` of 1, 2, 3 ... microseconds.
pub(crate) fn measurement(answers: u64) -> Measurement {
    let target = Target::read("bench", "tcp://127.0.0.1:7", Families::Any).unwrap();
    let mut result = TargetResult::new(target, Model::Closed);
    result.fates.planned = answers;
    result.fates.ok = answers;
    (1..=answers).for_each(|n| result.service.record(n * 1000));
    Measurement {
        kind: "bench",
        started: UNIX_EPOCH + Duration::from_nanos(1_764_299_400_123_456_789),
        duration: Duration::from_secs(10),
        warm_up: Duration::from_secs(1),
        timestamps: "user",
        settings: Settings {
            size: 64,
            timeout: Duration::from_secs(1),
            connections: 1,
            rounds: 1,
            ..Settings::default()
        },
        targets: vec![result],
        warnings: Vec::new(),
    }
}
