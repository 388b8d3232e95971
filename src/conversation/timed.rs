//! A line on which nobody waits for longer than the listener allows.
//!
//! The kernel keeps the time: SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) are set once, so a message costs no call more. For
//! `idle-timeout` alone they are exact, since every call begins when something has moved. For `max-lifetime` they are
//! never longer than what is left of it: when less is left they are halved, so they are set anew a few dozen times in the
//! whole life of a connection, not at each message. One that ends early is set to the rest, and the call is made again.

use std::{
    io,
    ops::Range,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    config,
    end::End,
    sys::{
        interrupt,
        line::{Direct, Line},
    },
};

/// The kernel counts in ticks of a few milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// A line by system calls, with time limits if the listener has any.
pub(super) struct Timed<'a> {
    line: Direct<'a>,
    socket: &'a Socket,
    idle: Option<Duration>,
    /// When `max-lifetime` is over.
    end: Option<Instant>,
    /// The kernel's time-outs, of receiving and of sending.
    armed: [Duration; 2],
    /// When the call began that waits; kept only where `end` is, without it the kernel's time-out is the idle time.
    began: Option<Instant>,
    expired: Option<End>,
}

/// Which of the kernel's time-outs counts.
#[derive(Clone, Copy)]
enum Side {
    Receive = 0,
    Send = 1,
}

impl<'a> Timed<'a> {
    /// A line of a connection that was `opened` then.
    pub(super) fn new(
        socket: &'a Socket,
        scratch: &'a mut [u8],
        settings: &config::Listener,
        opened: Instant,
    ) -> Self {
        let mut timed = Timed {
            line: Direct::new(socket, scratch),
            socket,
            idle: settings.idle_timeout,
            end: settings.max_lifetime.map(|time| opened + time),
            armed: [Duration::MAX; 2],
            began: None,
            expired: None,
        };
        if let Some(time) = settings.idle_timeout.into_iter().chain(settings.max_lifetime).min() {
            timed.arm(Side::Receive, time);
            timed.arm(Side::Send, time);
        }
        timed
    }

    /// The limit that was reached, told once: from then on nothing waits, and nothing is limited.
    pub(super) fn expired(&mut self) -> Option<End> {
        let expired = self.expired.take()?;
        self.release();
        Some(expired)
    }

    /// Makes calls return instead of waiting, and forgets the limits.
    pub(super) fn release(&mut self) {
        (self.idle, self.end) = (None, None);
        // If that fails the peer is gone.
        let _ = self.socket.set_nonblocking(true);
    }

    /// Makes a call that may wait, again and again while the kernel's time-out ends before a limit is reached.
    fn wait(
        &mut self,
        side: Side,
        mut call: impl FnMut(&mut Direct<'a>) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        if self.expired.is_some() || !self.begin(side) {
            return Ok(None);
        }
        loop {
            match call(&mut self.line)? {
                None if self.goes_on(side) => {}
                outcome => return Ok(outcome),
            }
        }
    }

    /// Sees to it that the call does not wait beyond `max-lifetime`; false if that is over.
    fn begin(&mut self, side: Side) -> bool {
        let Some(end) = self.end else { return true };
        let now = Instant::now();
        self.began = Some(now);
        let left = end.saturating_duration_since(now);
        if left.is_zero() {
            self.expired = Some(End::MaxLifetime);
            return false;
        }
        let armed = self.armed[side as usize];
        if left < armed && armed > SHORTEST {
            self.arm(side, left / 2);
        }
        true
    }

    /// Whether to make the call again, which would block, or did for as long as it may.
    fn goes_on(&mut self, side: Side) -> bool {
        // A socket that does not block because of an interrupt has nothing more; see `sys::interrupt`.
        if interrupt::asked() || (self.idle.is_none() && self.end.is_none()) {
            return false;
        }
        let now = Instant::now();
        let left = self.end.map(|end| end.saturating_duration_since(now));
        let idle = match (self.idle, self.began) {
            (Some(idle), Some(began)) => Some((began + idle).saturating_duration_since(now)),
            (idle, _) => idle.map(|_| Duration::ZERO),
        };
        self.expired = match (left, idle) {
            (Some(Duration::ZERO), _) => Some(End::MaxLifetime),
            (_, Some(Duration::ZERO)) => Some(End::IdleTimeout),
            _ => None,
        };
        if let Some(time) = left.into_iter().chain(idle).min().filter(|_| self.expired.is_none()) {
            self.arm(side, time);
        }
        self.expired.is_none()
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

impl Line for Timed<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.wait(Side::Receive, |line| line.receive())
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        self.line.receive_now()
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.line.buffer()
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |line| line.send(part.clone()))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.wait(Side::Send, |line| line.send_kept(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.line.end()
    }
}
