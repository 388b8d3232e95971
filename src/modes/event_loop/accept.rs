//! Input of an event loop: accepting connections and receiving datagrams.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use log::warn;

use super::{AcceptPause, EventLoop, FREED, LoopConnection, PER_TURN, holds::HeldConnection};
use crate::{
    modes::backlog_drain,
    report::{
        close_reason::CloseReason, log_event::LogEvent, logging::LogThrottle, refusal_reason::RefusalReason,
    },
    serve::{admit::Admitted, context::Accepted, datagram, listener_set::BACKLOG_DRAIN_TIME},
    socket::listener::AcceptError,
    stream::connection::{ReadMode, Step},
    sys::poller::{Interest, Poller, passes},
};

/// Back-off after a receive that failed for want of memory.
const RECEIVE_BACKOFF: Duration = Duration::from_millis(100);

/// Datagrams received in one turn: as many as that number of full batches holds. A busy socket has many small batches, and
/// polling after every few of them would cost more than they do.
const DATAGRAMS: usize = PER_TURN * datagram::MOST;

/// A batch of this many datagrams is likely to be followed by more.
const MANY: usize = 4;

/// A socket with fewer datagrams between two waits is no longer busy. Less than `MANY`, so that a socket in between does not
/// alternate.
const FEW: usize = 2;

impl<P: Poller> EventLoop<'_, P> {
    /// Accepts up to `PER_TURN` connections from listener `number`.
    pub(super) fn accept(&mut self, number: usize) -> io::Result<()> {
        let slots = &self.context.slots;
        // Stale event: the socket may already belong to the next generation.
        if self.pause.is_some() || slots.is_handed_over() {
            return Ok(());
        }
        for n in 0..PER_TURN {
            // An accept4(2) that returns EAGAIN costs as much as one that succeeds. The poller reports a level again, so try for
            // a second client only if one is likely.
            if n > 0 && !P::EDGE && !self.accept_probe.is_promising() {
                return Ok(());
            }
            // Stale event: the listeners may be closed.
            let Some(listener) = self.listeners.get(number) else { return Ok(()) };
            let mut permit = None;
            // Backpressure: acquire the slot before accept4(2), so that clients above the limit stay in the backlog. Where
            // clients above the limit are refused, the slot is acquired after accept: one held early could make another loop
            // refuse a client wrongly.
            if self.context.queues_when_full() {
                permit = slots.try_acquire();
                if permit.is_none() && self.closing {
                    permit = Some(slots.acquire_over_limit());
                }
                if permit.is_none() {
                    return match slots.wait_for_slot(&self.waker) {
                        true => self.pause_accepting(AcceptPause::Full),
                        false => continue,
                    };
                }
            }
            if slots.reserve(1) == 0 {
                self.requeue_unless_exhausted(number);
                return Ok(());
            }
            match self.context.receive(listener.accept_nonblocking(), &mut permit) {
                Ok(admitted) => {
                    self.accept_backoff.reset();
                    self.accept_probe.record(n, true);
                    match admitted {
                        Admitted::Refused => {}
                        Admitted::Lingers(socket) => self.linger(socket),
                        Admitted::Accepted(Accepted { socket, peer, permit, opened, faults }) => self
                            .add_connection(LoopConnection {
                                socket,
                                connection: self.context.connection(peer),
                                interest: Interest::Read,
                                queued: false,
                                opened,
                                faults: faults.map(HeldConnection::new),
                                permit,
                            })?,
                    }
                }
                Err(AcceptError::WouldBlock) => {
                    self.accept_probe.record(n, false);
                    return Ok(());
                }
                Err(AcceptError::Retry) => {}
                Err(AcceptError::Exhausted(error)) => {
                    let until =
                        Instant::now() + self.context.exhausted("accept", &error, &mut self.accept_backoff);
                    return self.pause_accepting(AcceptPause::Short(until));
                }
                // Another loop has shut the listening socket down at its end.
                Err(AcceptError::Fatal(_)) if self.context.slots.is_closed_for_all() => return Ok(()),
                Err(AcceptError::Fatal(error)) => {
                    return Err(io::Error::other(format!("cannot accept at {}: {error}", listener.url())));
                }
            }
        }
        // There may be more clients, and an edge is reported once.
        if P::EDGE {
            self.requeue(number);
        }
        Ok(())
    }

    /// Advances a new connection once before it is added to the poller: a service that speaks first sends, what has arrived
    /// is answered, and the poller has nothing to report yet.
    pub(super) fn add_connection(&mut self, mut entry: LoopConnection) -> io::Result<()> {
        if let Err(error) = self.poller.admits(entry.socket.as_fd()) {
            self.refuse_client(&entry, &error);
            return Ok(());
        }
        let wait = entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::Once);
        if !matches!(wait, Step::Closed(_))
            && let Err(error) = self.watch_connection(&entry)
        {
            self.refuse_client(&entry, &error);
            return Ok(());
        }
        let awaiting_proxy_header = entry.connection.awaits_proxy_header();
        let key = self.connections.insert(entry);
        self.limits.start(key, awaiting_proxy_header);
        self.update_interest(key, wait)
    }

    /// Counts and logs a client whose descriptor cannot be polled (`select`: its number is too high).
    pub(super) fn refuse_client(&self, entry: &LoopConnection, error: &io::Error) {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        let reason = RefusalReason::Unwatchable;
        self.context.stats.refuse(reason, 1);
        self.context.stats.ended(CloseReason::Refused(reason), entry.opened.elapsed());
        if let Some(more) = THROTTLE.allow() {
            let url = entry.connection.peer().url(self.context.settings.protocol);
            let name = &self.context.settings.name;
            let help = match error.kind() {
                io::ErrorKind::InvalidInput => "lower max-connections, or use mode epoll",
                _ => "lower max-connections",
            };
            warn!(
                event = LogEvent::ConnectionUnwatchable, listener = name.as_str(), peer:% = url,
                error:% = error, suppressed = more;
                "listener \"{name}\": {url} turned away: {error}; {help} ({more} such lines left out)"
            );
        }
    }

    /// Answers the datagrams that wait at a socket. As long as many arrive at once, it goes on without polling.
    pub(super) fn receive(&mut self, number: usize) -> io::Result<()> {
        // Stale event: receiving was paused since.
        if self.pause.is_some() {
            return Ok(());
        }
        let (mut received, mut failed) = (0, 0);
        while received < DATAGRAMS && failed < PER_TURN {
            let (Some(listener), Some(batch)) = (self.listeners.get(number), &mut self.batch) else { break };
            match datagram::take(self.context, listener, batch, false) {
                Ok(0) => {
                    self.requeue_unless_exhausted(number);
                    return self.set_busy(number, false);
                }
                Ok(n) => {
                    datagram::answer(self.context, listener, batch);
                    received += n;
                    // A batch that is not full was all there is. A level is reported again in any case.
                    let drained = !P::EDGE || (n < batch.size() && !self.context.slots.counts_requests());
                    if n >= MANY {
                        self.set_busy(number, true)?;
                    } else if drained && !self.busy.contains(&number) {
                        // At a busy socket more are on their way: a receive that finds none costs less than a wait.
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if received < FEW { self.set_busy(number, false) } else { Ok(()) };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => failed += 1,
                Err(_) => return self.pause_accepting(AcceptPause::Short(Instant::now() + RECEIVE_BACKOFF)),
            }
        }
        // An edge is reported once.
        if P::EDGE {
            self.requeue(number);
        }
        Ok(())
    }

    /// Tells the poller whether a datagram socket is busy.
    fn set_busy(&mut self, number: usize, busy: bool) -> io::Result<()> {
        let at = self.busy.iter().position(|&other| other == number);
        match (at, busy) {
            (None, true) => self.busy.push(number),
            (Some(at), false) => _ = self.busy.swap_remove(at),
            _ => return Ok(()),
        }
        let Some(listener) = self.listeners.get(number) else { return Ok(()) };
        match self.poller.set_busy(listener.as_fd(), number as u64, busy) {
            Err(error) => self.watch_later(error),
            Ok(()) => Ok(()),
        }
    }

    /// Retries after a back-off when a socket cannot be added to the poller for want of memory.
    fn watch_later(&mut self, error: io::Error) -> io::Result<()> {
        if !passes(&error) {
            return Err(error);
        }
        let until =
            Instant::now() + self.context.exhausted("watch for clients", &error, &mut self.accept_backoff);
        self.resume_accepting();
        self.pause_accepting(AcceptPause::Short(until))
    }

    /// Puts a listener in the ready list.
    fn requeue(&mut self, number: usize) {
        let key = number as u64;
        if !self.ready_list.contains(&key) {
            self.ready_list.push_back(key);
        }
    }

    /// All of `max-requests` are reserved, but another loop may release some, and an edge is reported once.
    fn requeue_unless_exhausted(&mut self, number: usize) {
        if P::EDGE && !self.context.slots.is_exhausted() {
            self.requeue(number);
        }
    }

    /// Adds the listening sockets to the poller.
    pub(super) fn watch_listeners(&mut self) -> io::Result<()> {
        self.resume_accepting();
        for (number, listener) in self.listeners.iter().enumerate() {
            if let Err(error) = self.poller.add(listener.as_fd(), number as u64, Interest::Accept) {
                return self.watch_later(error);
            }
        }
        Ok(())
    }

    /// Removes the listening sockets from the poller: clients wait in the backlog.
    pub(super) fn pause_accepting(&mut self, pause: AcceptPause) -> io::Result<()> {
        if self.closing {
            // The backlog is accepted now or never.
            return Ok(());
        }
        self.pause = Some(pause);
        if pause == AcceptPause::Full
            && let Err(error) = self.poller.add(self.waker.as_fd(), FREED, Interest::Read)
        {
            return self.watch_later(error);
        }
        self.listeners.iter().for_each(|listener| self.poller.remove(listener.as_fd()));
        self.busy.clear();
        Ok(())
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.pause.take() == Some(AcceptPause::Full) {
            self.poller.remove(self.waker.as_fd());
            self.context.slots.stop_waiting(&self.waker);
        }
    }

    /// Accepts the backlog, answers the datagrams that have arrived, and closes the listeners. The backlog of sockets that
    /// were handed over is left to the next generation.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.poller.remove(self.context.slots.closed());
        let end = Instant::now() + BACKLOG_DRAIN_TIME;
        let handed = self.context.slots.is_handed_over();
        self.closing = true;
        let watched = self.pause.is_none();
        if self.batch.is_none() {
            // Clients that wait at the limit are served as well.
            self.resume_accepting();
        }
        for number in 0..self.listeners.len() {
            while !handed && !self.context.slots.is_exhausted() && self.pause.is_none() {
                let before = self.context.stats.arrived();
                match self.batch.is_some() {
                    true => self.receive(number)?,
                    false => self.accept(number)?,
                }
                if self.context.stats.arrived() == before || end <= Instant::now() {
                    break;
                }
            }
        }
        if watched {
            self.listeners.iter().for_each(|listener| self.poller.remove(listener.as_fd()));
        }
        self.resume_accepting();
        backlog_drain::refuse(self.context, self.listeners);
        self.listeners.clear();
        self.worker.end_wait();
        Ok(())
    }
}
