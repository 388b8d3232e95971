//! The service manager's watchdog (sd_watchdog_enabled(3)): pinged at half its interval, but only if every listener has
//! acknowledged the supervisor's own ping since the last time.
//!
//! Event loops acknowledge within a turn, the process of a forking listener between two clients, and threads while they wait
//! for a client. So a stuck loop or a stopped process starves the watchdog, as does a stuck supervisor. A thread or process
//! that serves a client is not asked: it may block on that client.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::{daemon::running_listener::RunningListener, report::log_event::LogEvent};

pub(super) struct Watchdog {
    /// Half of the service manager's time-out.
    interval: Duration,
    /// When to check the acknowledgements.
    due: Instant,
    /// Whether a listener had not acknowledged at the last check.
    missing: bool,
    /// When the listeners were last pinged.
    pinged: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new(timeout: Duration) -> Watchdog {
        Watchdog { interval: timeout / 2, due: Instant::now(), missing: false, pinged: None }
    }

    /// Notes that the listeners were pinged for another reason.
    #[cfg(feature = "observe")]
    pub(super) fn pinged_beside(&mut self) {
        self.pinged = Some(Instant::now());
    }

    /// When [`Watchdog::is_to_ping`] is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether to ping the service manager now; if so, pings the listeners again.
    pub(super) fn is_to_ping(&mut self, running_listeners: &[RunningListener]) -> bool {
        if self.due > Instant::now() {
            return false;
        }
        if let Some(pinged) = self.pinged
            && let Some(silent) = running_listeners.iter().find(|running| !running.has_acknowledged())
        {
            let soon = self.interval / 10;
            if !self.missing && pinged.elapsed() < soon {
                // It was pinged a moment ago, by somebody who looks.
                self.due = Instant::now() + soon;
                return false;
            }
            if !self.missing {
                let name = silent.name();
                warn!(
                    event = LogEvent::WatchdogMissed, listener = name;
                    "listener \"{name}\" does not answer: the watchdog is not pinged"
                );
            }
            self.missing = true;
            // It may only be late: check again soon.
            self.due = Instant::now() + soon;
            return false;
        }
        if self.missing {
            info!(event = LogEvent::WatchdogResumed; "all listeners answer again");
        }
        running_listeners.iter().filter(|running| !running.has_ended()).for_each(RunningListener::ping);
        (self.missing, self.pinged) = (false, Some(Instant::now()));
        self.due = Instant::now() + self.interval;
        true
    }
}
