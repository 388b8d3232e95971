//! Where clients come into an event loop: connections are accepted, datagrams received.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use log::warn;

use super::{Aside, EventLoop, FREED, TURN, Visitor};
use crate::{
    modes::backlog_drain,
    report::{logging::Seldom, refusal_reason::Reason},
    serve::{
        context::{Admitted, Guest, Rest},
        datagram,
        listener_set::LAST_CALL,
    },
    socket::listener::Refusal,
    stream::connection::{Appetite, Wait},
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
        let gate = &self.duty.gate;
        // The event may be older than the end: who waits then is not ours any more.
        if self.aside.is_some() || gate.is_handed_over() {
            return Ok(());
        }
        for n in 0..TURN {
            // A level is told again.
            if n > 0 && !P::EDGE && !self.queue.is_worth_a_look() {
                return Ok(());
            }
            // An event may be older than the end of its listener.
            let Some(listener) = self.listeners.get(number) else { return Ok(()) };
            let mut permit = None;
            // Where nobody waits, a place that is taken before somebody is there for it would be missing in another loop.
            if self.duty.lets_wait() {
                permit = gate.try_enter();
                if permit.is_none() && self.closing {
                    permit = Some(gate.squeeze_in());
                }
                if permit.is_none() {
                    return match gate.wait_for_place(&self.bell) {
                        true => self.step_aside(Aside::Full),
                        false => continue,
                    };
                }
            }
            if gate.claim(1) == 0 {
                self.claim_again(number);
                return Ok(());
            }
            match self.duty.receive(listener.accept_nonblocking(), &mut permit) {
                Ok(admitted) => {
                    self.rest = Rest::default();
                    self.queue.looked(n, true);
                    match admitted {
                        Admitted::Refused => {}
                        Admitted::Lingers(socket) => self.linger(socket),
                        Admitted::Guest(Guest { socket, peer, permit, opened }) => self.admit(Visitor {
                            socket,
                            connection: self.duty.connection(peer),
                            interest: Interest::Read,
                            queued: false,
                            opened,
                            permit,
                        })?,
                    }
                }
                Err(Refusal::Nothing) => {
                    self.queue.looked(n, false);
                    return Ok(());
                }
                Err(Refusal::Again) => {}
                Err(Refusal::Exhausted(error)) => {
                    let until = Instant::now() + self.duty.exhausted("accept", &error, &mut self.rest);
                    return self.step_aside(Aside::Short(until));
                }
                // Another loop was done first, and has refused whoever comes from then on.
                Err(Refusal::Broken(_)) if self.duty.gate.is_closed_for_all() => return Ok(()),
                Err(Refusal::Broken(error)) => {
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
    pub(super) fn admit(&mut self, mut visitor: Visitor) -> io::Result<()> {
        if let Err(error) = self.poller.admits(visitor.socket.as_fd()) {
            self.turn_away(&visitor, &error);
            return Ok(());
        }
        let wait = visitor.step(&mut self.poller, &mut self.scratch, self.duty, Appetite::Once);
        if !matches!(wait, Wait::Closed(_))
            && let Err(error) = self.poller.add_line(visitor.socket.as_fd(), self.guests.next_key())
        {
            self.turn_away(&visitor, &error);
            return Ok(());
        }
        let prefaced = visitor.connection.is_prefaced();
        let key = self.guests.insert(visitor);
        self.limits.start(key, prefaced);
        self.settle(key, wait)
    }

    /// `select` cannot watch a descriptor of so high a number.
    pub(super) fn turn_away(&self, visitor: &Visitor, error: &io::Error) {
        static SELDOM: Seldom = Seldom::new(Duration::from_secs(10));
        self.duty.stats.refuse(Reason::Unwatchable, 1);
        if let Some(more) = SELDOM.allow() {
            let url = visitor.connection.peer().url(self.duty.settings.protocol);
            let name = &self.duty.settings.name;
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
        if self.aside.is_some() {
            return Ok(());
        }
        let (mut came, mut failed) = (0, 0);
        while came < DATAGRAMS && failed < TURN {
            let (Some(listener), Some(batch)) = (self.listeners.get(number), &mut self.batch) else { break };
            match datagram::take(self.duty, listener, batch, false) {
                Ok(0) => {
                    self.claim_again(number);
                    return self.set_busy(number, false);
                }
                Ok(n) => {
                    datagram::answer(self.duty, listener, batch);
                    came += n;
                    // Fewer than there is room for: that was all. A level is told again in any case.
                    let all = !P::EDGE || (n < batch.size() && !self.duty.gate.counts_requests());
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
                Err(_) => return self.step_aside(Aside::Short(Instant::now() + REST)),
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
        let until = Instant::now() + self.duty.exhausted("watch for clients", &error, &mut self.rest);
        self.step_back();
        self.step_aside(Aside::Short(until))
    }

    /// Looks at a listener again without being told.
    fn listen_again(&mut self, number: usize) {
        let key = number as u64;
        if !self.again.contains(&key) {
            self.again.push_back(key);
        }
    }

    /// All requests are claimed, but another loop may give some back, and an edge is not told twice.
    fn claim_again(&mut self, number: usize) {
        if P::EDGE && !self.duty.gate.is_exhausted() {
            self.listen_again(number);
        }
    }

    /// Watches the listeners, if they are to be watched.
    pub(super) fn watch_listeners(&mut self) -> io::Result<()> {
        self.step_back();
        for (number, listener) in self.listeners.iter().enumerate() {
            if let Err(error) = self.poller.add(listener.as_fd(), number as u64, Interest::Accept) {
                return self.watch_later(error);
            }
        }
        Ok(())
    }

    /// Lets clients wait in the backlog.
    pub(super) fn step_aside(&mut self, why: Aside) -> io::Result<()> {
        if self.closing {
            // There is no time to wait for anything.
            return Ok(());
        }
        self.aside = Some(why);
        if why == Aside::Full
            && let Err(error) = self.poller.add(self.bell.as_fd(), FREED, Interest::Read)
        {
            return self.watch_later(error);
        }
        self.listeners.iter().for_each(|listener| self.poller.remove(listener.as_fd()));
        self.busy.clear();
        Ok(())
    }

    pub(super) fn step_back(&mut self) {
        if self.aside.take() == Some(Aside::Full) {
            self.poller.remove(self.bell.as_fd());
            self.duty.gate.stop_waiting(&self.bell);
        }
    }

    /// Accepts and answers what has arrived, and then closes the listeners. Who waits at sockets that were handed over is left
    /// to those who have them now.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.poller.remove(self.duty.gate.closed());
        let end = Instant::now() + LAST_CALL;
        let handed = self.duty.gate.is_handed_over();
        self.closing = true;
        let watched = self.aside.is_none();
        if self.batch.is_none() {
            // Those who wait because it is full are served as well.
            self.step_back();
        }
        for number in 0..self.listeners.len() {
            while !handed && !self.duty.gate.is_exhausted() && self.aside.is_none() {
                let before = self.duty.stats.arrived();
                match self.batch.is_some() {
                    true => self.receive(number)?,
                    false => self.accept(number)?,
                }
                if self.duty.stats.arrived() == before || end <= Instant::now() {
                    break;
                }
            }
        }
        if watched {
            self.listeners.iter().for_each(|listener| self.poller.remove(listener.as_fd()));
        }
        self.step_back();
        backlog_drain::refuse(self.duty, self.listeners);
        self.listeners.clear();
        self.post.leave();
        Ok(())
    }
}
