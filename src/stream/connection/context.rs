//! What the caller of [`Connection::advance`](super::Connection::advance) passes: the context of the listener, how much to
//! read, and the limit that was reached.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{
    config,
    report::{close_reason::CloseReason, stats::Stats},
    sys::interrupt,
};

/// Settings, counters and drain deadline of the listener that a connection belongs to.
pub struct ConnectionContext<'a> {
    /// Settings of the listener.
    pub settings: &'a config::Listener,
    /// Counters of the listener.
    pub stats: &'a Stats,
    /// The drain deadline, once it is set: connections still open then are cut.
    pub cut: &'a OnceLock<Instant>,
    /// For a process that sets the deadline itself: the time from its interrupt to the cut.
    pub drain: Option<Duration>,
}

impl ConnectionContext<'_> {
    /// The drain deadline, if draining has begun.
    pub fn cut_at(&self) -> Option<Instant> {
        match self.drain {
            Some(time) if interrupt::is_interrupted() => {
                Some(*self.cut.get_or_init(|| Instant::now() + time))
            }
            _ => self.cut.get().copied(),
        }
    }

    /// Whether the drain deadline has passed.
    pub fn is_cut(&self) -> bool {
        self.cut_at().is_some_and(|cut| cut <= Instant::now())
    }

    /// `max-bytes`; without that limit a number that no connection reaches.
    pub(super) fn most_bytes(&self) -> u64 {
        match self.settings.max_bytes {
            0 => u64::MAX,
            most => most,
        }
    }
}

/// How much to read in one [`Connection::advance`](super::Connection::advance).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Nothing: only the service may have something to send.
    None,
    /// One message. A level-triggered poller reports the socket again while there is more.
    Once,
    /// Until a message does not fill the buffer: the socket is empty then, and an edge-triggered poller reports what
    /// arrives next.
    UntilShort,
    /// Until EAGAIN. A blocking socket waits for more.
    UntilWouldBlock,
}

impl ReadMode {
    /// Whether to read again after `n` bytes were received into a buffer of `room` bytes.
    pub(super) fn goes_on(self, n: usize, room: usize) -> bool {
        match self {
            ReadMode::None | ReadMode::Once => false,
            ReadMode::UntilShort => n == room,
            ReadMode::UntilWouldBlock => true,
        }
    }
}

/// A limit in time that a connection has reached, and that whatever drives it has measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReachedLimit {
    /// `proxy-header-timeout`.
    Header,
    /// A limit that closes the connection.
    Close(CloseReason),
}
