//! The watchdog of the service manager (sd_watchdog_enabled(3)): it is pinged at half its interval, but only if every
//! listener has given a sign of life since the last time.
//!
//! Event loops answer from within a turn, processes of forking listeners between two clients, and threads that wait at
//! the door from there. So a loop that is stuck, or a process that is stopped, starves the watchdog, and so does the
//! supervisor itself. Who serves a client in a thread or process of its own waits for that client and is not asked.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::daemon::running_listener::RunningListener;

pub(super) struct Watchdog {
    /// Half of what the service manager allows.
    interval: Duration,
    /// When to look for answers.
    due: Instant,
    /// Whether somebody did not answer when last looked.
    missing: bool,
    asked: bool,
}

impl Watchdog {
    pub(super) fn new(timeout: Duration) -> Watchdog {
        Watchdog { interval: timeout / 2, due: Instant::now(), missing: false, asked: false }
    }

    /// When [`Watchdog::is_to_ping`] has something to do.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether the ping is due and deserved; then asks anew.
    pub(super) fn is_to_ping(&mut self, running_listeners: &[RunningListener]) -> bool {
        if self.due > Instant::now() {
            return false;
        }
        if self.asked
            && let Some(silent) = running_listeners.iter().find(|running| !running.has_answered())
        {
            if !self.missing {
                warn!("listener \"{}\" does not answer: the watchdog is not pinged", silent.name());
            }
            self.missing = true;
            // It may only be late.
            self.due = Instant::now() + self.interval / 10;
            return false;
        }
        if self.missing {
            info!("all listeners answer again");
        }
        running_listeners.iter().filter(|running| !running.has_ended()).for_each(RunningListener::ask);
        (self.missing, self.asked) = (false, true);
        self.due = Instant::now() + self.interval;
        true
    }
}
