//! Ends of connections that the log is still to be told of.

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

/// They wait for so long at most,
const WHILE: Duration = Duration::from_millis(20);

/// and until there are so many: about as many lines as a pipe takes in one piece.
const MOST: usize = 32;

/// Told together: to put a line into words takes little time when it has just been done, and much between two connections,
/// when the kernel has used the processor's caches for itself.
pub(super) struct CloseLog {
    untold: Vec<(Peer, Instant, ConnectionSummary)>,
    /// Set once for many of them. A wait with a time-out would do, but then each wait pays for a timer, and a processor
    /// that expects one soon sleeps less.
    alarm: TimerFd,
    set: bool,
}

impl CloseLog {
    pub(super) fn new() -> io::Result<CloseLog> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(CloseLog { untold: Vec::with_capacity(MOST), alarm, set: false })
    }

    /// Adds one, and when it was.
    pub(super) fn add(&mut self, context: &ListenerContext, log_close: (Peer, Instant, ConnectionSummary)) {
        self.untold.push(log_close);
        if !self.set {
            let once = Expiration::OneShot(TimeSpec::from(WHILE));
            self.set = self.alarm.set(once, TimerSetTimeFlags::empty()).is_ok();
        }
        if self.untold.len() >= MOST || !self.set {
            self.tell(context);
        }
    }

    /// To be called when the alarm is readable.
    pub(super) fn fall_due(&mut self, context: &ListenerContext) {
        // It may be told of twice (by a ring, which reads completions ahead of a wait): then it has not gone off again.
        if self.alarm.wait().is_ok() {
            self.set = false;
        }
        self.tell(context);
    }

    /// Tells of all.
    pub(super) fn tell(&mut self, context: &ListenerContext) {
        let now = Instant::now();
        for (peer, ended, report) in self.untold.drain(..) {
            logging::dated(now.duration_since(ended), || context.tell_end(&peer, report));
        }
    }
}

impl AsFd for CloseLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Closes a connection, counts its end, and has the log told of it.
    pub(super) fn close_connection(&mut self, key: u64, end: CloseReason) {
        let Some(entry) = self.connections.remove(key) else { return };
        let LoopConnection { socket, connection, opened, permit, .. } = entry;
        self.limits.stop(key);
        self.poller.forget(socket.as_fd());
        let (received, sent) = connection.totals();
        let (protocol, proxied_source) = (self.context.settings.protocol, connection.proxied_source());
        self.context.count_end(end, || connection.peer().source(protocol, proxied_source).to_string());
        let process = self.context.process_to_tell(&socket, end);
        // Its place is free when its descriptor is.
        drop(socket);
        drop(permit);
        if self.context.tells_end(end) {
            let (now, lingered) = (Instant::now(), connection.lingered());
            let lasted = now.duration_since(opened).saturating_sub(lingered);
            let report = ConnectionSummary { received, sent, end, proxied_source, process, lasted, lingered };
            self.close_log.add(self.context, (connection.peer().clone(), now, report));
        }
    }
}
