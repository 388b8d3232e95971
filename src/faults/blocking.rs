//! The blocking driver of a connection that a plan hits. It waits in ppoll(2) with the nearest of all times: those of the plan, and
//! the limits of the listener. The driver without a plan (`stream::blocking`) leaves them to the kernel, and would block in calls.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
        time::TimeSpec,
    },
};
use socket2::Socket;

use super::{advance, end_at_hang_up, refuse, stream::ConnectionFaults};
use crate::{
    report::{close_reason::CloseReason, refusal_reason::RefusalReason},
    stream::{
        blocking::ConnectionSummary,
        connection::{Connection, ConnectionContext, LINGER, ReadMode, Step},
    },
    sys::interrupt,
};

/// Serves `connection` until it closes, as [`crate::stream::blocking::serve`] does.
pub fn serve(
    mut connection: Connection,
    (socket, scratch): (&Socket, &mut [u8]),
    context: &ConnectionContext<'_>,
    mut faults: Box<ConnectionFaults>,
    opened: Instant,
    mut admit_proxied: impl FnMut(&Connection) -> Result<(), RefusalReason>,
    summary: &mut ConnectionSummary,
) {
    // If this fails, so does the first call that it would have concerned.
    let _ = socket.set_nonblocking(true);
    let signals = HeldSignals::new();
    let mut limits = Limits::new(context, opened, connection.awaits_proxy_header());
    // The socket has hung up, which poll(2) would report again and again, and the connection goes on at its time all the same.
    let mut has_hung_up = false;
    summary.end = loop {
        let step = advance(&mut connection, socket, scratch, &mut faults, context, ReadMode::UntilWouldBlock);
        let before = (summary.received, summary.sent);
        (summary.received, summary.sent) = connection.totals();
        if connection.awaits_proxy_header() || before != connection.totals() {
            limits.moved = Instant::now();
        }
        let wants_to_write = match step {
            Step::Closed(end) => break end,
            _ if context.is_cut() => break CloseReason::DrainTimeout,
            Step::HeaderRead => {
                limits.header = None;
                summary.proxied_source = connection.proxied_source();
                match admit_proxied(&connection) {
                    Ok(()) => faults.decide(&connection.client()),
                    Err(reason) => {
                        refuse(socket, &mut faults);
                        break CloseReason::Refused(reason);
                    }
                }
                continue;
            }
            Step::Yield => {
                if interrupt::is_interrupted() && connection.is_streaming() {
                    connection.stop();
                }
                if limits.linger.is_some_and(|end| end <= Instant::now()) {
                    break connection.reason();
                }
                continue;
            }
            Step::Linger => {
                limits.begin_linger();
                continue;
            }
            Step::Readable if !connection.ending() && interrupt::is_interrupted() => {
                connection.stop();
                continue;
            }
            Step::Readable => false,
            Step::Writable => true,
        };
        // Errors and hang-ups are always reported.
        let parked = faults.is_parked(wants_to_write);
        let flags = match wants_to_write {
            _ if parked => PollFlags::empty(),
            true => PollFlags::POLLOUT,
            false => PollFlags::POLLIN,
        };
        let flags = (!parked || !has_hung_up || !faults.goes_on()).then_some(flags);
        let due = faults.due().into_iter().chain(limits.next()).chain(context.cut_at()).min();
        let reported = signals.wait(socket, flags, due);
        let now = Instant::now();
        if context.is_cut() {
            break CloseReason::DrainTimeout;
        }
        if parked && reported.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            match end_at_hang_up(&connection, socket, &faults) {
                Some(end) => break end,
                None => has_hung_up = true,
            }
        }
        match limits.reached(now) {
            None => {}
            Some(Reached::Linger) => break connection.reason(),
            Some(Reached::Header) => {
                limits.header = None;
                if let Err(reason) = connection.proxy_header_overdue() {
                    break CloseReason::Refused(reason);
                }
            }
            Some(Reached::End(end)) => {
                connection.finish(end);
                limits.begin_linger();
            }
        }
    };
    summary.lingered = connection.lingered();
}

/// The limits of a listener in time, for one connection.
struct Limits {
    idle: Option<Duration>,
    moved: Instant,
    lifetime: Option<Instant>,
    header: Option<Instant>,
    linger: Option<Instant>,
}

enum Reached {
    Linger,
    Header,
    End(CloseReason),
}

impl Limits {
    fn new(context: &ConnectionContext<'_>, opened: Instant, awaits_header: bool) -> Limits {
        let settings = context.settings;
        Limits {
            idle: settings.idle_timeout,
            moved: opened,
            lifetime: settings.max_lifetime.map(|time| opened + time),
            header: awaits_header.then(|| opened + settings.proxy_header_timeout),
            linger: None,
        }
    }

    /// From now on only the end of lingering counts.
    fn begin_linger(&mut self) {
        (self.idle, self.lifetime, self.header) = (None, None, None);
        self.linger.get_or_insert_with(|| Instant::now() + LINGER);
    }

    fn all(&self) -> impl Iterator<Item = (Instant, Reached)> {
        let idle = self.idle.map(|time| (self.moved + time, Reached::End(CloseReason::IdleTimeout)));
        let lifetime = self.lifetime.map(|at| (at, Reached::End(CloseReason::MaxLifetime)));
        let header = self.header.map(|at| (at, Reached::Header));
        let linger = self.linger.map(|at| (at, Reached::Linger));
        linger.into_iter().chain(header).chain(lifetime).chain(idle)
    }

    fn next(&self) -> Option<Instant> {
        self.all().map(|(at, _)| at).min()
    }

    fn reached(&self, now: Instant) -> Option<Reached> {
        self.all().find(|(at, _)| *at <= now).map(|(_, reached)| reached)
    }
}

/// The signals that interrupt a worker. They stay blocked, except in the wait: one that comes before it is not missed.
struct HeldSignals {
    /// The signal mask outside, in which they are not blocked.
    usual: Option<SigSet>,
}

impl HeldSignals {
    fn new() -> HeldSignals {
        let mut held = SigSet::empty();
        held.add(Signal::SIGURG);
        held.add(Signal::SIGTERM);
        let mut usual = SigSet::empty();
        let blocked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut usual));
        HeldSignals { usual: blocked.is_ok().then_some(usual) }
    }

    /// Waits until the socket is ready, a signal arrives, or `due` has come; returns what the socket is ready for.
    fn wait(&self, socket: &Socket, flags: Option<PollFlags>, due: Option<Instant>) -> PollFlags {
        let mut polled = flags.map(|flags| [PollFd::new(socket.as_fd(), flags)]);
        let polled = polled.as_mut().map_or(&mut [][..], |polled| &mut polled[..]);
        let time = due.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
        // Whatever ended the wait, the caller looks at everything anew.
        let _ = ppoll(polled, time, self.usual);
        polled.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty())
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        if let Some(usual) = &self.usual {
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(usual), None);
        }
    }
}
