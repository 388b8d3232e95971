//! Time limits of the connections in an event loop. A listener without limits pays nothing: the clock is not read, and the
//! loop waits without a time-out.

use std::{io, time::Instant};

use super::EventLoop;
use crate::{
    config::{self, ProxyProtocol},
    modes::event_loop::timeout_queue::TimeoutQueue,
    report::close_reason::CloseReason,
    stream::connection::{LINGER, ReachedLimit, ReadMode, Step},
    sys::poller::{Poller, Readiness},
};

/// The time limits of a listener, with the running time-outs of its connections.
pub(super) struct TimeLimits {
    /// Read once a turn.
    now: Instant,
    /// The time of the turn before, so no later than when this turn began to look for events.
    looked: Instant,
    idle: Option<TimeoutQueue>,
    lifetime: Option<TimeoutQueue>,
    /// For connections that wait for a PROXY header.
    header: Option<TimeoutQueue>,
}

impl TimeLimits {
    pub(super) fn new(settings: &config::Listener) -> TimeLimits {
        let now = Instant::now();
        TimeLimits {
            now,
            looked: now,
            idle: settings.idle_timeout.map(|time| TimeoutQueue::new(time, true)),
            lifetime: settings.max_lifetime.map(|time| TimeoutQueue::new(time, false)),
            header: (settings.proxy_protocol != ProxyProtocol::Off)
                .then(|| TimeoutQueue::new(settings.proxy_header_timeout, false)),
        }
    }

    /// Reads the clock, at the start of a turn.
    pub(super) fn tick(&mut self) {
        if self.idle.is_some() || self.lifetime.is_some() || self.header.is_some() {
            self.looked = std::mem::replace(&mut self.now, Instant::now());
        }
    }

    /// Starts the time-outs of a new connection, which may begin with a PROXY header.
    pub(super) fn start(&mut self, key: u64, awaiting_proxy_header: bool) {
        let now = self.now;
        for (timers, limit) in self.all() {
            if awaiting_proxy_header || !matches!(limit, ReachedLimit::Header) {
                timers.start(key, now);
            }
        }
    }

    /// The PROXY header has arrived.
    pub(super) fn header_read(&mut self, key: u64) {
        if let Some(header) = &mut self.header {
            header.stop(key);
        }
    }

    /// Bytes were received or sent.
    pub(super) fn transferred(&mut self, key: u64) {
        if let Some(idle) = &mut self.idle {
            idle.restart(key, self.now);
        }
    }

    /// Cancels the time-outs of a connection that is closed, or about to be.
    pub(super) fn stop(&mut self, key: u64) {
        self.all().for_each(|(timers, _)| timers.stop(key));
    }

    /// When the first time-out expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.idle.iter().chain(&self.lifetime).chain(&self.header).filter_map(TimeoutQueue::next).min()
    }

    /// A connection that has reached a limit, and which. Only once a turn that began later has found nothing of it: where the
    /// machine holds up this thread, or stops it for a moment, bytes that came in time may not have been seen yet.
    fn reached(&mut self) -> Option<(u64, ReachedLimit)> {
        let looked = self.looked;
        self.all().find_map(|(timers, limit)| Some((timers.due(looked)?, limit)))
    }

    fn all(&mut self) -> impl Iterator<Item = (&mut TimeoutQueue, ReachedLimit)> {
        let idle = self.idle.iter_mut().map(|timers| (timers, ReachedLimit::Close(CloseReason::IdleTimeout)));
        let lifetime =
            self.lifetime.iter_mut().map(|timers| (timers, ReachedLimit::Close(CloseReason::MaxLifetime)));
        idle.chain(lifetime).chain(self.header.iter_mut().map(|timers| (timers, ReachedLimit::Header)))
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Acts on what is due: limits, drain timeout, linger, back-off.
    pub(super) fn expire(&mut self) -> io::Result<()> {
        while let Some((key, limit)) = self.limits.reached() {
            match limit {
                ReachedLimit::Close(end) => self.close_at_limit(key, end)?,
                ReachedLimit::Header => self.expire_header(key)?,
            }
        }
        self.cut();
        while let Some(&(due, key)) = self.lingering.front()
            && due <= Instant::now()
        {
            self.lingering.pop_front();
            if let Some(entry) = self.connections.get_mut(key) {
                let end = entry.connection.reason();
                self.close_connection(key, end);
            }
        }
        self.expire_refused();
        self.resume_after_backoff()
    }

    fn close_at_limit(&mut self, key: u64, end: CloseReason) -> io::Result<()> {
        self.limits.stop(key);
        if let Some(entry) = self.connections.get_mut(key) {
            entry.connection.finish(end);
        }
        // A peer that does not read gets as long as one that lingers.
        self.lingering.push_back((Instant::now() + LINGER, key));
        self.advance(Readiness { key, readable: true, hangup: true }, key)
    }

    fn expire_header(&mut self, key: u64) -> io::Result<()> {
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        let wait = match entry.connection.proxy_header_overdue() {
            // A peer that needs no header: from now on a connection like any other.
            Ok(()) => entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::None),
            Err(reason) => Step::Closed(CloseReason::Refused(reason)),
        };
        self.update_interest(key, wait)
    }
}
