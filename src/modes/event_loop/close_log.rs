//! Close lines of an event loop, deferred and written together.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{EventLoop, LoopConnection};
use crate::{
    report::{close_reason::CloseReason, logging},
    serve::context::ListenerContext,
    socket::address::Peer,
    stream::blocking::ConnectionSummary,
    sys::poller::Poller,
};

/// Longest delay of a close line.
const DELAY: Duration = Duration::from_millis(20);

/// Lines that are written without further delay: about as many as one write to a pipe takes.
const MOST: usize = 32;

/// Deferred close lines. Formatting a line is cheap just after another one, and expensive between two connections, when the
/// kernel has evicted the code from the processor's caches.
pub(super) struct CloseLog {
    pending: Vec<(Peer, Instant, ConnectionSummary)>,
    /// Armed once for many lines. A time-out of the wait would do, but each wait would pay for a timer, and a processor that
    /// expects one soon sleeps less.
    timer: TimerFd,
    set: bool,
}

impl CloseLog {
    pub(super) fn new() -> io::Result<CloseLog> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(CloseLog { pending: Vec::with_capacity(MOST), timer, set: false })
    }

    /// Adds a closed connection, with the time of the close.
    pub(super) fn add(&mut self, context: &ListenerContext, closed: (Peer, Instant, ConnectionSummary)) {
        self.pending.push(closed);
        if !self.set {
            let once = Expiration::OneShot(TimeSpec::from(DELAY));
            self.set = self.timer.set(once, TimerSetTimeFlags::empty()).is_ok();
        }
        if self.pending.len() >= MOST || !self.set {
            self.write(context);
        }
    }

    /// To be called when the timer is readable.
    pub(super) fn on_timer(&mut self, context: &ListenerContext) {
        // io_uring reports readiness ahead of the wait, so the event may come twice; the timer expired once.
        if self.timer.wait().is_ok() {
            self.set = false;
        }
        self.write(context);
    }

    /// Writes all deferred lines.
    pub(super) fn write(&mut self, context: &ListenerContext) {
        let now = Instant::now();
        for (peer, ended, report) in self.pending.drain(..) {
            logging::dated(now.duration_since(ended), || context.log_close_line(&peer, report));
        }
    }
}

impl AsFd for CloseLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Closes and counts a connection, and defers its close line.
    pub(super) fn close_connection(&mut self, key: u64, end: CloseReason) {
        let Some(entry) = self.connections.remove(key) else { return };
        let LoopConnection { socket, connection, opened, permit, faults, .. } = entry;
        self.limits.stop(key);
        if let Some(holds) = &mut self.holds {
            holds.forget(key, faults.as_deref());
        }
        self.poller.forget(socket.as_fd());
        let (received, sent) = connection.totals();
        let (protocol, proxied_source) = (self.context.settings.protocol, connection.proxied_source());
        let (now, lingered) = (Instant::now(), connection.lingered());
        let lasted = now.duration_since(opened).saturating_sub(lingered);
        let mut report =
            ConnectionSummary { received, sent, end, proxied_source, process: None, lasted, lingered };
        self.context.count_close(&report, || connection.peer().source(protocol, proxied_source).to_string());
        report.process = self.context.process_to_log(&socket, &report);
        // Close the descriptor before the slot is released: they are bounded together.
        drop(socket);
        drop(permit);
        if self.context.logs_close(&report) {
            self.close_log.add(self.context, (connection.peer().clone(), now, report));
        }
    }
}
