//! What a run tells while it goes on, and what stops it.

use std::{sync::atomic::AtomicBool, time::Duration};

/// A part of a run that takes a known time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressStep {
    /// What is done: `warm-up`, `round 2 of 3`.
    pub what: String,
    /// How long it takes.
    pub lasts: Duration,
}

/// Is told the steps of a run. Nothing is told inside of a step: it would disturb what is measured.
pub trait Progress {
    /// A step begins.
    fn begin(&mut self, step: &ProgressStep);

    /// The last step that began is over.
    fn end(&mut self);

    /// What ends the run early, when it is set.
    fn stop(&self) -> &AtomicBool;
}

/// Tells nothing.
#[derive(Debug, Default)]
pub struct Silent(pub AtomicBool);

impl Progress for Silent {
    fn begin(&mut self, _: &ProgressStep) {}

    fn end(&mut self) {}

    fn stop(&self) -> &AtomicBool {
        &self.0
    }
}
