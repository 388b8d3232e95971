//! A blocking transport that keeps the time-outs of its listener.
//!
//! The kernel measures the time: SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) are set once, so that a message costs no extra
//! system call. For `idle-timeout` alone they are exact, because every call begins when bytes have just moved. For
//! `max-lifetime` they are set to a small fraction of the time left, so small that `CALLS` calls in a row cannot wait
//! longer than that; only then the clock is read. When the fraction has become too large they are set anew, a few dozen
//! times in the life of a connection. When the kernel's time-out ends before the limit, it is set to the rest and the
//! call is repeated.

use std::{
    io,
    ops::Range,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use socket2::Socket;

use crate::{
    config,
    report::close_reason::CloseReason,
    stream::connection::ReachedLimit,
    sys::{
        interrupt,
        transport::{DirectTransport, Transport},
    },
};

/// The kernel counts these time-outs in ticks of a few milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Calls between two readings of the clock: in a process of its own, the memory that the clock is read from is rarely
/// cached.
const CALLS: u32 = 16;

/// Transport by blocking system calls, with the listener's time-outs if it has any.
pub(super) struct DeadlineIo<'a, const RECORDS: bool> {
    transport: DirectTransport<'a, RECORDS>,
    socket: &'a Socket,
    idle: Option<Duration>,
    /// The end of `max-lifetime`.
    end: Option<Instant>,
    /// The deadline of the PROXY header.
    header: Option<Instant>,
    /// The kernel's time-outs as they are set: SO_RCVTIMEO, SO_SNDTIMEO.
    armed: [Duration; 2],
    /// When the waiting call began. Kept only with a deadline: without one the kernel's time-out is the idle time-out.
    began: Option<Instant>,
    /// Calls left before the clock is read.
    calls: u32,
    reached: Option<ReachedLimit>,
}

/// Which of the kernel's two time-outs applies.
#[derive(Clone, Copy)]
enum Side {
    Receive = 0,
    Send = 1,
}

impl<'a, const RECORDS: bool> DeadlineIo<'a, RECORDS> {
    /// The transport of a connection accepted at `opened`.
    pub(super) fn new(
        socket: &'a Socket,
        scratch: &'a mut [u8],
        settings: &config::Listener,
        opened: Instant,
    ) -> Self {
        let mut deadline_io = DeadlineIo {
            transport: DirectTransport::new(socket, scratch),
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
            deadline_io.arm(Side::Receive, time);
            deadline_io.arm(Side::Send, time);
        }
        deadline_io
    }

    /// Sets the deadline of the PROXY header.
    pub(super) fn await_header(&mut self, until: Instant) {
        self.header = Some(until);
    }

    /// The header has arrived, or is no longer awaited: drops its deadline.
    pub(super) fn proxied_admitted(&mut self) {
        (self.header, self.calls) = (None, 0);
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()) / (4 * CALLS));
        match self.idle.into_iter().chain(left).min() {
            Some(time) => self.arm(Side::Receive, time),
            None => {
                // Without a limit a receive may wait for ever, which is what zero means to the kernel.
                let _ = self.socket.set_read_timeout(None);
            }
        }
    }

    /// The limit that was reached; returned once.
    pub(super) fn reached(&mut self) -> Option<ReachedLimit> {
        self.reached.take()
    }

    /// Makes the socket non-blocking, and drops all limits.
    pub(super) fn release(&mut self) {
        (self.idle, self.end, self.header) = (None, None, None);
        // If this fails, the peer is gone.
        let _ = self.socket.set_nonblocking(true);
    }

    /// Makes a call that may wait.
    fn wait(
        &mut self,
        side: Side,
        mut call: impl FnMut(&mut DirectTransport<'a, RECORDS>) -> Result<usize, Errno>,
    ) -> io::Result<Option<usize>> {
        if self.reached.is_some() || !self.begin(side) {
            return Ok(None);
        }
        match call(&mut self.transport) {
            Ok(n) => Ok(Some(n)),
            Err(error) => self.wait_again(side, error, call),
        }
    }

    /// Repeats a call that failed with `error`, while it ends before a limit is reached: with the kernel's time-out, or
    /// interrupted. Apart, because hardly any call of a busy connection fails.
    #[cold]
    fn wait_again(
        &mut self,
        side: Side,
        mut error: Errno,
        mut call: impl FnMut(&mut DirectTransport<'a, RECORDS>) -> Result<usize, Errno>,
    ) -> io::Result<Option<usize>> {
        let mut interrupted = false;
        let outcome = loop {
            let goes_on = match error {
                Errno::AGAIN => self.goes_on(side),
                Errno::INTR => {
                    interrupted = true;
                    self.resumes(side)
                }
                error => break Err(error.into()),
            };
            if !goes_on {
                break Ok(None);
            }
            match call(&mut self.transport) {
                Ok(n) => break Ok(Some(n)),
                Err(next) => error = next,
            }
        };
        if interrupted {
            self.recover(side);
        }
        outcome
    }

    /// The next deadline that traffic does not move, and its limit.
    fn deadline(&self) -> Option<(Instant, ReachedLimit)> {
        let end = self.end.map(|end| (end, ReachedLimit::Close(CloseReason::MaxLifetime)));
        let header = self.header.map(|header| (header, ReachedLimit::Header));
        end.into_iter().chain(header).min_by_key(|(at, _)| *at)
    }

    /// Makes sure that the call cannot wait beyond a deadline; false if that has passed.
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
            ReachedLimit::Header if left < self.armed[side as usize] => self.arm(side, left),
            ReachedLimit::Header => {}
            ReachedLimit::Close(_) => self.calls = self.spare(left),
        }
        true
    }

    /// How many calls cannot wait for more than half of `left`, after the time-outs are reduced to a small fraction of
    /// it.
    fn spare(&mut self, left: Duration) -> u32 {
        let most = left / (2 * CALLS);
        for side in [Side::Receive, Side::Send] {
            if self.armed[side as usize] > most.max(SHORTEST) {
                self.arm(side, most / 2);
            }
        }
        if most > SHORTEST { CALLS } else { 0 }
    }

    /// Whether to repeat a call that returned EAGAIN: the socket is non-blocking, or the kernel's time-out is over.
    fn goes_on(&mut self, side: Side) -> bool {
        let deadline = self.deadline();
        // After an interrupt EAGAIN means that the socket is empty; see `sys::interrupt`.
        if interrupt::is_interrupted() || (self.idle.is_none() && deadline.is_none()) {
            return false;
        }
        let now = Instant::now();
        // Without a reading of the clock, the call has waited for exactly the kernel's time-out.
        let began =
            *self.began.get_or_insert_with(|| now.checked_sub(self.armed[side as usize]).unwrap_or(now));
        // Without a deadline the kernel's time-out is the idle time-out, and it is over.
        let idle = deadline.map_or(Duration::ZERO, |_| self.idle_left(began, now));
        self.waits_on(side, now, idle)
    }

    /// Whether to repeat a call that returned EINTR, as it does when the machine stops the process for a moment (signal(7)).
    fn resumes(&mut self, side: Side) -> bool {
        // After an interrupt the socket does not block any more.
        if interrupt::is_interrupted() || (self.idle.is_none() && self.deadline().is_none()) {
            return true;
        }
        let now = Instant::now();
        // Without a reading of the clock, the time until now does not count: the idle time-out at most doubles.
        let began = *self.began.get_or_insert(now);
        let idle = self.idle_left(began, now);
        self.waits_on(side, now, idle)
    }

    /// After an interruption: for the next call the kernel's time-out is the idle time-out again. With a deadline, the next call
    /// begins with a look at the clock.
    fn recover(&mut self, side: Side) {
        self.began = None;
        if let (Some(idle), None) = (self.idle, self.deadline()) {
            self.arm(side, idle);
        }
    }

    /// What is left of the idle time-out of a call that began at `began`; of none, all there is.
    fn idle_left(&self, began: Instant, now: Instant) -> Duration {
        self.idle.map_or(Duration::MAX, |idle| (began + idle).saturating_duration_since(now))
    }

    /// Sets the kernel's time-out to what is left of the nearest limit; false if that is reached.
    fn waits_on(&mut self, side: Side, now: Instant, idle: Duration) -> bool {
        self.calls = 0;
        let left = self.deadline().map(|(at, limit)| (at.saturating_duration_since(now), limit));
        let idle = self.idle.map(|_| (idle, ReachedLimit::Close(CloseReason::IdleTimeout)));
        // If both are over, the deadline is the reason.
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
        // Zero would mean no time-out.
        let time = time.max(SHORTEST);
        self.armed[side as usize] = time;
        // setsockopt(2) cannot fail for such a value, socket(7).
        let _ = match side {
            Side::Receive => self.socket.set_read_timeout(Some(time)),
            Side::Send => self.socket.set_write_timeout(Some(time)),
        };
    }
}

impl<const RECORDS: bool> Transport for DeadlineIo<'_, RECORDS> {
    const RECORDS: bool = RECORDS;

    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.wait(Side::Receive, |transport| transport.receive_once())
    }

    fn is_end(&self) -> bool {
        self.transport.is_end()
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        self.transport.receive_now()
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.transport.buffer()
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |transport| transport.send_once(part.clone()))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |transport| transport.send_kept_once(bytes))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.transport.socket()
    }

    fn end(&mut self) -> io::Result<()> {
        self.transport.end()
    }
}
