//! How long the connections of an event loop may live, and be idle. Where nothing is limited nothing is done: no clock is
//! read, and the loop waits as long as it takes.

use std::time::Instant;

use crate::{config, end::End, strategy::timers::Timers};

/// The time limits of a listener, and how its connections stand.
pub(super) struct TimeLimits {
    /// The clock is read once a turn.
    now: Instant,
    idle: Option<Timers>,
    lifetime: Option<Timers>,
}

impl TimeLimits {
    pub(super) fn new(settings: &config::Listener) -> TimeLimits {
        TimeLimits {
            now: Instant::now(),
            idle: settings.idle_timeout.map(|time| Timers::new(time, true)),
            lifetime: settings.max_lifetime.map(|time| Timers::new(time, false)),
        }
    }

    /// Begins a turn.
    pub(super) fn tick(&mut self) {
        if self.idle.is_some() || self.lifetime.is_some() {
            self.now = Instant::now();
        }
    }

    /// Of a connection that has just come.
    pub(super) fn start(&mut self, key: u64) {
        let now = self.now;
        self.all().for_each(|(timers, _)| timers.start(key, now));
    }

    /// Something has moved.
    pub(super) fn moved(&mut self, key: u64) {
        if let Some(idle) = &mut self.idle {
            idle.restart(key, self.now);
        }
    }

    /// Of a connection that has ended, or is ending.
    pub(super) fn stop(&mut self, key: u64) {
        self.all().for_each(|(timers, _)| timers.stop(key));
    }

    /// When somebody may be at a limit.
    pub(super) fn next(&self) -> Option<Instant> {
        self.idle.iter().chain(&self.lifetime).filter_map(Timers::next).min()
    }

    /// Somebody who is at a limit, and at which.
    pub(super) fn reached(&mut self) -> Option<(u64, End)> {
        let now = self.now;
        let (key, end) = self.all().find_map(|(timers, end)| Some((timers.due(now)?, end)))?;
        self.stop(key);
        Some((key, end))
    }

    fn all(&mut self) -> impl Iterator<Item = (&mut Timers, End)> {
        let idle = self.idle.iter_mut().map(|timers| (timers, End::IdleTimeout));
        idle.chain(self.lifetime.iter_mut().map(|timers| (timers, End::MaxLifetime)))
    }
}
