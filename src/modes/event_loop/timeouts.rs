//! How long the connections of an event loop may live, and be idle. Where nothing is limited nothing is done: no clock is
//! read, and the loop waits as long as it takes.

use std::{io, time::Instant};

use super::EventLoop;
use crate::{
    config::{self, ProxyProtocol},
    modes::event_loop::timeout_queue::TimeoutQueue,
    report::close_reason::CloseReason,
    stream::connection::{LINGER, ReadMode, Step},
    sys::poller::{Poller, Readiness},
};

/// The time limits of a listener, and how its connections stand.
pub(super) struct TimeLimits {
    /// The clock is read once a turn.
    now: Instant,
    idle: Option<TimeoutQueue>,
    lifetime: Option<TimeoutQueue>,
    /// Of those whose header is awaited.
    header: Option<TimeoutQueue>,
}

/// What was reached.
pub(super) enum ReachedLimit {
    /// The time for the header of a proxy.
    Header,
    /// A limit that ends the connection.
    CloseReason(CloseReason),
}

impl TimeLimits {
    pub(super) fn new(settings: &config::Listener) -> TimeLimits {
        TimeLimits {
            now: Instant::now(),
            idle: settings.idle_timeout.map(|time| TimeoutQueue::new(time, true)),
            lifetime: settings.max_lifetime.map(|time| TimeoutQueue::new(time, false)),
            header: (settings.proxy_protocol != ProxyProtocol::Off)
                .then(|| TimeoutQueue::new(settings.proxy_header_timeout, false)),
        }
    }

    /// Begins a turn.
    pub(super) fn tick(&mut self) {
        if self.idle.is_some() || self.lifetime.is_some() || self.header.is_some() {
            self.now = Instant::now();
        }
    }

    /// Of a connection that has just come, perhaps with a header in front.
    pub(super) fn start(&mut self, key: u64, awaiting_proxy_header: bool) {
        let now = self.now;
        for (timers, limit) in self.all() {
            if awaiting_proxy_header || !matches!(limit, ReachedLimit::Header) {
                timers.start(key, now);
            }
        }
    }

    /// The header has come.
    pub(super) fn proxied_admitted(&mut self, key: u64) {
        if let Some(header) = &mut self.header {
            header.stop(key);
        }
    }

    /// Something has moved.
    pub(super) fn moved(&mut self, key: u64) {
        if let Some(idle) = &mut self.idle {
            idle.restart(key, self.now);
        }
    }

    /// Of a connection that has ended, or is ending.
    pub(super) fn stop(&mut self, key: u64) {
        self.all().for_each(|(timers, _)| timers.stop(key));
    }

    /// When somebody may be at a limit.
    pub(super) fn next(&self) -> Option<Instant> {
        self.idle.iter().chain(&self.lifetime).chain(&self.header).filter_map(TimeoutQueue::next).min()
    }

    /// Somebody who is at a limit, and at which.
    fn reached(&mut self) -> Option<(u64, ReachedLimit)> {
        let now = self.now;
        self.all().find_map(|(timers, limit)| Some((timers.due(now)?, limit)))
    }

    fn all(&mut self) -> impl Iterator<Item = (&mut TimeoutQueue, ReachedLimit)> {
        let idle =
            self.idle.iter_mut().map(|timers| (timers, ReachedLimit::CloseReason(CloseReason::IdleTimeout)));
        let lifetime = self
            .lifetime
            .iter_mut()
            .map(|timers| (timers, ReachedLimit::CloseReason(CloseReason::MaxLifetime)));
        idle.chain(lifetime).chain(self.header.iter_mut().map(|timers| (timers, ReachedLimit::Header)))
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Does what is due.
    pub(super) fn expire(&mut self) -> io::Result<()> {
        while let Some((key, limit)) = self.limits.reached() {
            match limit {
                ReachedLimit::CloseReason(end) => self.end_at_limit(key, end)?,
                ReachedLimit::Header => self.miss_header(key)?,
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
        self.look_at_rest()
    }

    fn end_at_limit(&mut self, key: u64, end: CloseReason) -> io::Result<()> {
        self.limits.stop(key);
        if let Some(entry) = self.connections.get_mut(key) {
            entry.connection.finish(end);
        }
        // Who does not read gets no more time than who lingers.
        self.lingering.push_back((Instant::now() + LINGER, key));
        self.advance(Readiness { key, readable: true, hangup: true }, key)
    }

    fn miss_header(&mut self, key: u64) -> io::Result<()> {
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        let wait = match entry.connection.proxy_header_overdue() {
            // Somebody who needs none: from now on it is a connection like any other.
            Ok(()) => entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::None),
            Err(reason) => Step::Closed(CloseReason::Refused(reason)),
        };
        self.update_interest(key, wait)
    }
}
