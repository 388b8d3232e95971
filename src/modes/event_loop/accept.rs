//! Where clients come into an event loop: connections are accepted, datagrams received.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use log::warn;

use super::{EventLoop, FREED, LoopConnection, Pause, TURN};
use crate::{
    modes::backlog_drain,
    report::{logging::LogThrottle, refusal_reason::RefusalReason},
    serve::{
        context::{Accepted, Admitted, Rest},
        datagram,
        listener_set::BACKLOG_DRAIN_TIME,
    },
    socket::listener::AcceptError,
    stream::connection::{ReadMode, Step},
    sys::poller::{Interest, Poller, passes},
};

/// The rest after a receive that failed for want of memory.
const REST: Duration = Duration::from_millis(100);

/// Datagrams that are received in one turn: as many as so many full batches hold. A busy socket has many small ones, and to ask the
/// poller after every few of them would cost more than they do.
const DATAGRAMS: usize = TURN * datagram::MOST;

/// So many datagrams at once are likely to be followed by more.
const MANY: usize = 4;

/// Where fewer come between two waits a socket is not busy any more. Less than `MANY`, or one that is in between would have to
/// change over again and again.
const FEW: usize = 2;

impl<P: Poller> EventLoop<'_, P> {
    /// Lets in who waits at a listener.
    pub(super) fn accept(&mut self, number: usize) -> io::Result<()> {
        let slots = &self.context.slots;
        // The event may be older than the end: who waits then is not ours any more.
        if self.pause.is_some() || slots.is_handed_over() {
            return Ok(());
        }
        for n in 0..TURN {
            // A level is told again.
            if n > 0 && !P::EDGE && !self.queue.is_promising() {
                return Ok(());
            }
            // An event may be older than the end of its listener.
            let Some(listener) = self.listeners.get(number) else { return Ok(()) };
            let mut permit = None;
            // Where nobody waits, a place that is taken before somebody is there for it would be missing in another loop.
            if self.context.queues_when_full() {
                permit = slots.try_acquire();
                if permit.is_none() && self.closing {
                    permit = Some(slots.acquire_over_limit());
                }
                if permit.is_none() {
                    return match slots.wait_for_place(&self.waker) {
                        true => self.pause_accepting(Pause::Full),
                        false => continue,
                    };
                }
            }
            if slots.reserve(1) == 0 {
                self.reserve_again(number);
                return Ok(());
            }
            match self.context.receive(listener.accept_nonblocking(), &mut permit) {
                Ok(admitted) => {
                    self.rest = Rest::default();
                    self.queue.looked(n, true);
                    match admitted {
                        Admitted::Refused => {}
                        Admitted::Lingers(socket) => self.linger(socket),
                        Admitted::Accepted(Accepted { socket, peer, permit, opened }) => {
                            self.admit(LoopConnection {
                                socket,
                                connection: self.context.connection(peer),
                                interest: Interest::Read,
                                queued: false,
                                opened,
                                permit,
                            })?
                        }
                    }
                }
                Err(AcceptError::WouldBlock) => {
                    self.queue.looked(n, false);
                    return Ok(());
                }
                Err(AcceptError::Retry) => {}
                Err(AcceptError::Exhausted(error)) => {
                    let until = Instant::now() + self.context.exhausted("accept", &error, &mut self.rest);
                    return self.pause_accepting(Pause::Short(until));
                }
                // Another loop was done first, and has refused whoever comes from then on.
                Err(AcceptError::Fatal(_)) if self.context.slots.is_closed_for_all() => return Ok(()),
                Err(AcceptError::Fatal(error)) => {
                    return Err(io::Error::other(format!("cannot accept at {}: {error}", listener.url())));
                }
            }
        }
        // There may be more, and an edge is not told twice.
        if P::EDGE {
            self.listen_again(number);
        }
        Ok(())
    }

    /// Hears what the service says first, and what the client has said by now, and then watches the connection: there is
    /// nothing to be told then.
    pub(super) fn admit(&mut self, mut entry: LoopConnection) -> io::Result<()> {
        if let Err(error) = self.poller.admits(entry.socket.as_fd()) {
            self.refuse_client(&entry, &error);
            return Ok(());
        }
        let wait = entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::Once);
        if !matches!(wait, Step::Closed(_))
            && let Err(error) = self.poller.add_transport(entry.socket.as_fd(), self.connections.next_key())
        {
            self.refuse_client(&entry, &error);
            return Ok(());
        }
        let awaiting_proxy_header = entry.connection.awaits_proxy_header();
        let key = self.connections.insert(entry);
        self.limits.start(key, awaiting_proxy_header);
        self.update_interest(key, wait)
    }

    /// `select` cannot watch a descriptor of so high a number.
    pub(super) fn refuse_client(&self, entry: &LoopConnection, error: &io::Error) {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        self.context.stats.refuse(RefusalReason::Unwatchable, 1);
        if let Some(more) = THROTTLE.allow() {
            let url = entry.connection.peer().url(self.context.settings.protocol);
            let name = &self.context.settings.name;
            let cure = match error.kind() {
                io::ErrorKind::InvalidInput => "lower max-connections, or use mode epoll",
                _ => "lower max-connections",
            };
            warn!("listener \"{name}\": {url} turned away: {error}; {cure} ({more} such lines left out)");
        }
    }

    /// Answers what waits at a datagram socket. As long as many come at once the poller is not asked.
    pub(super) fn receive(&mut self, number: usize) -> io::Result<()> {
        // It may have been told of before.
        if self.pause.is_some() {
            return Ok(());
        }
        let (mut came, mut failed) = (0, 0);
        while came < DATAGRAMS && failed < TURN {
            let (Some(listener), Some(batch)) = (self.listeners.get(number), &mut self.batch) else { break };
            match datagram::take(self.context, listener, batch, false) {
                Ok(0) => {
                    self.reserve_again(number);
                    return self.set_busy(number, false);
                }
                Ok(n) => {
                    datagram::answer(self.context, listener, batch);
                    came += n;
                    // Fewer than there is room for: that was all. A level is told again in any case.
                    let all = !P::EDGE || (n < batch.size() && !self.context.slots.counts_requests());
                    if n >= MANY {
                        self.set_busy(number, true)?;
                    } else if all && !self.busy.contains(&number) {
                        // Where many came more are on their way: to find none costs less than to wait for the next.
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if came < FEW { self.set_busy(number, false) } else { Ok(()) };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => failed += 1,
                Err(_) => return self.pause_accepting(Pause::Short(Instant::now() + REST)),
            }
        }
        // As above.
        if P::EDGE {
            self.listen_again(number);
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

    /// What cannot be watched now is tried again after a rest.
    fn watch_later(&mut self, error: io::Error) -> io::Result<()> {
        if !passes(&error) {
            return Err(error);
        }
        let until = Instant::now() + self.context.exhausted("watch for clients", &error, &mut self.rest);
        self.resume_accepting();
        self.pause_accepting(Pause::Short(until))
    }

    /// Looks at a listener again without being told.
    fn listen_again(&mut self, number: usize) {
        let key = number as u64;
        if !self.ready_list.contains(&key) {
            self.ready_list.push_back(key);
        }
    }

    /// All requests are claimed, but another loop may give some back, and an edge is not told twice.
    fn reserve_again(&mut self, number: usize) {
        if P::EDGE && !self.context.slots.is_exhausted() {
            self.listen_again(number);
        }
    }

    /// Watches the listeners, if they are to be watched.
    pub(super) fn watch_listeners(&mut self) -> io::Result<()> {
        self.resume_accepting();
        for (number, listener) in self.listeners.iter().enumerate() {
            if let Err(error) = self.poller.add(listener.as_fd(), number as u64, Interest::Accept) {
                return self.watch_later(error);
            }
        }
        Ok(())
    }

    /// Lets clients wait in the backlog.
    pub(super) fn pause_accepting(&mut self, why: Pause) -> io::Result<()> {
        if self.closing {
            // There is no time to wait for anything.
            return Ok(());
        }
        self.pause = Some(why);
        if why == Pause::Full
            && let Err(error) = self.poller.add(self.waker.as_fd(), FREED, Interest::Read)
        {
            return self.watch_later(error);
        }
        self.listeners.iter().for_each(|listener| self.poller.remove(listener.as_fd()));
        self.busy.clear();
        Ok(())
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.pause.take() == Some(Pause::Full) {
            self.poller.remove(self.waker.as_fd());
            self.context.slots.stop_waiting(&self.waker);
        }
    }

    /// Accepts and answers what has arrived, and then closes the listeners. Who waits at sockets that were handed over is left
    /// to those who have them now.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.poller.remove(self.context.slots.closed());
        let end = Instant::now() + BACKLOG_DRAIN_TIME;
        let handed = self.context.slots.is_handed_over();
        self.closing = true;
        let watched = self.pause.is_none();
        if self.batch.is_none() {
            // Those who wait because it is full are served as well.
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
