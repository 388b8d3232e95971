//! A line on which nobody waits for longer than the listener allows.
//!
//! The kernel keeps the time: SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) are set once, so a message costs no call more. For
//! `idle-timeout` alone they are exact, since every call begins when something has moved. For `max-lifetime` they are a
//! small part of what is left of it, so small that many calls in a row cannot wait longer than that: only then the clock is
//! looked at, and they are set anew when they have become too large a part, a few dozen times in the whole life of a
//! connection. One that ends early is set to the rest, and the call is made again.

use std::{
    io,
    ops::Range,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    config,
    report::close_reason::CloseReason,
    sys::{
        interrupt,
        transport::{SocketTransport, Transport},
    },
};

/// The kernel counts in ticks of a few milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// So many calls are made without a look at the clock: in a process of its own that is memory which is not near otherwise.
const CALLS: u32 = 16;

/// A line by system calls, with time limits if the listener has any.
pub(super) struct DeadlineIo<'a> {
    transport: SocketTransport<'a>,
    socket: &'a Socket,
    idle: Option<Duration>,
    /// When `max-lifetime` is over.
    end: Option<Instant>,
    /// When the header of a proxy is overdue.
    header: Option<Instant>,
    /// The kernel's time-outs, of receiving and of sending.
    armed: [Duration; 2],
    /// When the call began that waits; kept only where there is a deadline, without one the kernel's time-out is the idle time.
    began: Option<Instant>,
    /// How many calls are left before the clock is looked at.
    calls: u32,
    reached: Option<Limit>,
}

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The time for the header of a proxy.
    Header,
    /// A limit that ends the connection.
    CloseReason(CloseReason),
}

/// Which of the kernel's time-outs counts.
#[derive(Clone, Copy)]
enum Side {
    Receive = 0,
    Send = 1,
}

impl<'a> DeadlineIo<'a> {
    /// A line of a connection that was `opened` then.
    pub(super) fn new(
        socket: &'a Socket,
        scratch: &'a mut [u8],
        settings: &config::Listener,
        opened: Instant,
    ) -> Self {
        let mut timed = DeadlineIo {
            transport: SocketTransport::new(socket, scratch),
            socket,
            idle: settings.idle_timeout,
            end: settings.max_lifetime.map(|time| opened + time),
            header: None,
            armed: [Duration::MAX; 2],
            began: None,
            calls: 0,
            reached: None,
        };
        let part = settings.max_lifetime.map(|time| time / (4 * CALLS));
        if let Some(time) = settings.idle_timeout.into_iter().chain(part).min() {
            timed.arm(Side::Receive, time);
            timed.arm(Side::Send, time);
        }
        timed
    }

    /// Waits for the header of a proxy, until then.
    pub(super) fn await_header(&mut self, until: Instant) {
        self.header = Some(until);
    }

    /// The header has come, or nobody waits for it any more.
    pub(super) fn proxied_admitted(&mut self) {
        (self.header, self.calls) = (None, 0);
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()) / (4 * CALLS));
        match self.idle.into_iter().chain(left).min() {
            Some(time) => self.arm(Side::Receive, time),
            None => {
                // Zero would be for ever, but that is what this says.
                let _ = self.socket.set_read_timeout(None);
            }
        }
    }

    /// The limit that was reached, told once.
    pub(super) fn reached(&mut self) -> Option<Limit> {
        self.reached.take()
    }

    /// Makes calls return instead of waiting, and forgets the limits.
    pub(super) fn release(&mut self) {
        (self.idle, self.end, self.header) = (None, None, None);
        // If that fails the peer is gone.
        let _ = self.socket.set_nonblocking(true);
    }

    /// Makes a call that may wait, again and again while the kernel's time-out ends before a limit is reached.
    fn wait(
        &mut self,
        side: Side,
        mut call: impl FnMut(&mut SocketTransport<'a>) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        if self.reached.is_some() || !self.begin(side) {
            return Ok(None);
        }
        loop {
            match call(&mut self.transport)? {
                None if self.goes_on(side) => {}
                outcome => return Ok(outcome),
            }
        }
    }

    /// The next moment at which something is over, whatever moves, and what that is.
    fn deadline(&self) -> Option<(Instant, Limit)> {
        let end = self.end.map(|end| (end, Limit::CloseReason(CloseReason::MaxLifetime)));
        let header = self.header.map(|header| (header, Limit::Header));
        end.into_iter().chain(header).min_by_key(|(at, _)| *at)
    }

    /// Sees to it that the call does not wait beyond a deadline; false if that is over.
    fn begin(&mut self, side: Side) -> bool {
        let Some((deadline, limit)) = self.deadline() else { return true };
        if let Some(calls) = self.calls.checked_sub(1) {
            (self.calls, self.began) = (calls, None);
            return true;
        }
        let now = Instant::now();
        self.began = Some(now);
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            self.reached = Some(limit);
            return false;
        }
        match limit {
            Limit::Header if left < self.armed[side as usize] => self.arm(side, left),
            Limit::Header => {}
            Limit::CloseReason(_) => self.calls = self.spare(left),
        }
        true
    }

    /// How many calls cannot wait for more than half of what is `left`, once the time-outs are a small part of it.
    fn spare(&mut self, left: Duration) -> u32 {
        let most = left / (2 * CALLS);
        for side in [Side::Receive, Side::Send] {
            if self.armed[side as usize] > most.max(SHORTEST) {
                self.arm(side, most / 2);
            }
        }
        if most > SHORTEST { CALLS } else { 0 }
    }

    /// Whether to make the call again, which would block, or did for as long as it may.
    fn goes_on(&mut self, side: Side) -> bool {
        let deadline = self.deadline();
        // A socket that does not block because of an interrupt has nothing more; see `sys::interrupt`.
        if interrupt::is_interrupted() || (self.idle.is_none() && deadline.is_none()) {
            return false;
        }
        let now = Instant::now();
        // Without a look at the clock, it has waited for just as long as it may.
        let began =
            *self.began.get_or_insert_with(|| now.checked_sub(self.armed[side as usize]).unwrap_or(now));
        self.calls = 0;
        let left = deadline.map(|(at, limit)| (at.saturating_duration_since(now), limit));
        let idle = self.idle.map(|idle| {
            // Without a deadline the kernel's time-out is the idle time.
            let rest = deadline.map_or(Duration::ZERO, |_| (began + idle).saturating_duration_since(now));
            (rest, Limit::CloseReason(CloseReason::IdleTimeout))
        });
        // Of two that are over at once, the first.
        let Some((time, limit)) = left.into_iter().chain(idle).min_by_key(|(time, _)| *time) else {
            return false;
        };
        match time.is_zero() {
            true => self.reached = Some(limit),
            false => self.arm(side, time),
        }
        self.reached.is_none()
    }

    fn arm(&mut self, side: Side, time: Duration) {
        // Zero would mean for ever.
        let time = time.max(SHORTEST);
        self.armed[side as usize] = time;
        // It cannot fail for such a value, socket(7).
        let _ = match side {
            Side::Receive => self.socket.set_read_timeout(Some(time)),
            Side::Send => self.socket.set_write_timeout(Some(time)),
        };
    }
}

impl Transport for DeadlineIo<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.wait(Side::Receive, |transport| transport.receive())
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        self.transport.receive_now()
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.transport.buffer()
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |transport| transport.send(part.clone()))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |transport| transport.send_kept(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.transport.end()
    }
}
