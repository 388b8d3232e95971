//! What a loop waits for, and how long.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{EventLoop, Pause};
use crate::{
    serve::context::Rest,
    sys::poller::{Poller, Readiness, passes},
};

/// The longest rest of a loop that is to end.
const AT_THE_END: Duration = Duration::from_millis(100);

impl<P: Poller> EventLoop<'_, P> {
    /// Waits for events, until something is due. Without memory for that it rests, and there are none.
    pub(super) fn wait(&mut self, events: &mut Vec<Readiness>) -> io::Result<()> {
        self.lines.write();
        let patience = self.patience();
        let until =
            self.context.settings.busy_poll.map(|time| Instant::now() + time.min(patience.unwrap_or(time)));
        loop {
            let busy = until.is_some_and(|until| until > Instant::now());
            match self.poller.wait(events, if busy { Some(Duration::ZERO) } else { patience }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) if passes(&error) => {
                    events.clear();
                    self.rest(&error);
                    return Ok(());
                }
                Err(error) => return Err(error),
                Ok(()) if busy && events.is_empty() => std::hint::spin_loop(),
                Ok(()) => {
                    self.waits = Rest::default();
                    return Ok(());
                }
            }
        }
    }

    fn rest(&mut self, error: &io::Error) {
        let time = self.context.exhausted("wait for clients", error, &mut self.waits);
        if !self.context.slots.rest(time) {
            // Closed before: nothing ends this rest early.
            thread::sleep(time.min(AT_THE_END));
        }
    }

    /// How long the poller may wait: for ever, unless something is due.
    fn patience(&self) -> Option<Duration> {
        if !self.ready_list.is_empty() {
            return Some(Duration::ZERO);
        }
        let short = match self.pause {
            Some(Pause::Short(until)) => Some(until),
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
