//! How an event loop waits, and for how long.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{AcceptPause, EventLoop};
use crate::sys::poller::{Poller, Readiness, passes};

/// Longest back-off of a loop that is shutting down.
const AT_THE_END: Duration = Duration::from_millis(100);

impl<P: Poller> EventLoop<'_, P> {
    /// Waits for events until something is due. If memory is short it backs off and returns none.
    pub(super) fn wait(&mut self, events: &mut Vec<Readiness>) -> io::Result<()> {
        self.lines.write();
        let time_out = self.time_out();
        let until =
            self.context.settings.busy_poll.map(|time| Instant::now() + time.min(time_out.unwrap_or(time)));
        loop {
            let busy = until.is_some_and(|until| until > Instant::now());
            match self.poller.wait(events, if busy { Some(Duration::ZERO) } else { time_out }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) if passes(&error) => {
                    events.clear();
                    self.back_off(&error);
                    return Ok(());
                }
                Err(error) => return Err(error),
                Ok(()) if busy && events.is_empty() => std::hint::spin_loop(),
                Ok(()) => {
                    self.wait_backoff.reset();
                    return Ok(());
                }
            }
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let time = self.context.exhausted("wait for clients", error, &mut self.wait_backoff);
        if !self.context.slots.wait(time) {
            // The listener is closed already, so that event ends no back-off early.
            thread::sleep(time.min(AT_THE_END));
        }
    }

    /// Time-out of the poller: `None` unless something is due.
    fn time_out(&self) -> Option<Duration> {
        if !self.ready_list.is_empty() {
            return Some(Duration::ZERO);
        }
        let short = match self.pause {
            Some(AcceptPause::Short(until)) => Some(until),
            _ => None,
        };
        let lingering = self.lingering.front().map(|(due, _)| *due);
        let cut = if self.stopping { self.context.cut.get().copied() } else { None };
        let due = lingering
            .into_iter()
            .chain(self.refused.due())
            .chain(short)
            .chain(cut)
            .chain(self.limits.next())
            .min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}
