//! `exit-idle-time`: the daemon exits once no listener has been active for that long.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::daemon::running_listener::{Handover, RunningListener};

/// Since when no listener was active.
pub(super) struct Idle {
    activity: u64,
    since: Instant,
}

impl Default for Idle {
    fn default() -> Self {
        Idle { activity: 0, since: Instant::now() }
    }
}

impl Supervisor<'_> {
    pub(super) fn check_idle(&mut self) {
        let Some(time) = self.config.daemon.exit_idle_time else { return };
        if self.deadline.is_some() {
            return;
        }
        self.running_listeners.iter().for_each(RunningListener::count_offloaded);
        let sum = |sum: u64, running: &RunningListener| sum.wrapping_add(running.stats().activity());
        let activity = self.running_listeners.iter().fold(0, sum);
        let open = self.open();
        // A client may wait that no worker has accepted yet.
        let is_awaited = || self.running_listeners.iter().any(RunningListener::has_waiting_clients);
        if open > 0 || activity != self.idle.activity || (self.idle.since.elapsed() >= time && is_awaited()) {
            self.idle = Idle { activity, since: Instant::now() };
        } else if self.idle.since.elapsed() >= time {
            // The fd store is emptied: the next daemon starts only on demand.
            self.store.sync([]);
            self.drain(&format!("nothing to do for {time:?} (exit-idle-time)"), Handover::SocketUnit);
        }
    }
}

/// How often to check for idleness; the daemon may exit by this much later than configured.
pub(super) fn idle_check_interval(exit_idle_time: Duration) -> Duration {
    (exit_idle_time / 10).max(Duration::from_millis(10))
}
