//! One thread, many connections: an event loop over any [`Poller`].
//!
//! The loop asks the poller who is ready, and lets each of them [advance](Connection::advance) one step. Nothing in here
//! waits for a single peer. What a peer does not take is kept with its connection, which is not read meanwhile.

use std::{collections::VecDeque, io, os::fd::AsFd, time::Instant};

use super::workers;
use crate::modes::event_loop::slab::Slab;
use crate::{
    access::gate::Bell,
    config::Protocol,
    report::{close_reason::End, logging::Gathering},
    serve::{
        context::{Duty, Rest},
        datagram::{self, MOST},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::{Appetite, LINGER, SCRATCH, Wait},
    sys::{
        mmsg::Batch,
        poller::{Event, Interest, Poller},
        post::Post,
        shared::Pages,
    },
};

mod accept;
mod accept_probe;
mod close_log;
mod refused;
mod slab;
pub(super) mod start;
mod timeout_queue;
mod timeouts;
mod visitor;
mod wait;

use crate::modes::event_loop::accept_probe::Queue;
use crate::modes::event_loop::close_log::Farewells;
use crate::modes::event_loop::timeouts::TimeLimits;
use refused::REFUSED;
use visitor::Visitor;

/// The gate was closed: accept what waits, and no more.
const CLOSED: u64 = 1 << 30;
/// The daemon stops: end what is open.
const STOPPED: u64 = CLOSED + 1;
/// There may be a place again.
const FREED: u64 = CLOSED + 2;
/// The supervisor asks for a sign of life.
const ASKED: u64 = CLOSED + 3;
/// Farewells are due.
const DUE: u64 = CLOSED + 4;

/// Connections that are accepted in one turn, and full batches of datagrams: then others have theirs.
const TURN: usize = 16;

/// Serves `sockets`, which are numbered by their keys, to the end; then there are none left.
pub(super) fn serve<P: Poller>(duty: &Duty, sockets: &mut Vec<Listener>, poller: P) -> io::Result<()> {
    serve_on(duty, sockets, LingerList::default(), poller)
}

/// As [`serve`], with clients that another worker has refused and that have not read why yet.
pub(super) fn serve_on<P: Poller>(
    duty: &Duty,
    sockets: &mut Vec<Listener>,
    refused: LingerList,
    poller: P,
) -> io::Result<()> {
    duty.posts.take_loop(|post| {
        let mut events = EventLoop::new(duty, sockets, refused, post, poller)?;
        if !duty.startup.meet() {
            return Ok(());
        }
        let serve = || {
            events.begin()?;
            while !events.is_done() {
                events.turn()?;
            }
            Ok(())
        };
        let served = workers::catch(serve);
        if served.is_err() {
            // What the failure left half done is closed with the loop.
            events.guests.keys().into_iter().for_each(|key| events.bid_farewell(key, End::LoopFailed));
        }
        events.farewells.tell(duty);
        served
    })
}

struct EventLoop<'a, P> {
    duty: &'a Duty,
    poller: P,
    listeners: &'a mut Vec<Listener>,
    guests: Slab<Visitor>,
    events: Vec<Event>,
    scratch: Pages,
    batch: Option<Batch>,
    /// Who has more to do than one turn allows.
    again: VecDeque<u64>,
    /// Who is to have read its last words by then; all wait equally long, so the first is due first.
    lingering: VecDeque<(Instant, u64)>,
    limits: TimeLimits,
    /// Rings when there may be a place again.
    bell: Bell,
    /// Why the listeners are not watched.
    aside: Option<Aside>,
    /// Datagram sockets where many come at once.
    busy: Vec<usize>,
    rest: Rest,
    waits: Rest,
    /// What waits is accepted for the last time.
    closing: bool,
    stopping: bool,
    post: &'a Post<'a>,
    /// What is logged in one turn, written at its end.
    lines: Gathering,
    /// Ends of connections that are to be told of.
    farewells: Farewells,
    /// How many wait at a listener.
    queue: Queue,
    /// Clients that were refused and read why.
    refused: LingerList,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aside {
    /// All places are taken.
    Full,
    /// Descriptors or memory are short, until then.
    Short(Instant),
}

impl<'a, P: Poller> EventLoop<'a, P> {
    fn new(
        duty: &'a Duty,
        listeners: &'a mut Vec<Listener>,
        refused: LingerList,
        post: &'a Post<'a>,
        mut poller: P,
    ) -> io::Result<Self> {
        listeners.iter().try_for_each(|listener| poller.admits(listener.as_fd()))?;
        let gate = &duty.gate;
        poller.add(gate.closed(), CLOSED, Interest::Read)?;
        poller.add(gate.stopped(), STOPPED, Interest::Read)?;
        post.stand();
        if let Some(bell) = post.bell() {
            poller.add(bell, ASKED, Interest::Read)?;
        }
        let stream = duty.settings.protocol.is_stream();
        let batch = (!stream).then(|| datagram::batch(duty, listeners.iter(), MOST)).transpose()?;
        let mut events = EventLoop {
            duty,
            poller,
            listeners,
            guests: Slab::new(),
            events: Vec::new(),
            scratch: Pages::new(SCRATCH)?,
            batch,
            again: VecDeque::new(),
            lingering: VecDeque::new(),
            limits: TimeLimits::new(&duty.settings),
            bell: Bell::new()?,
            aside: None,
            busy: Vec::new(),
            rest: Rest::default(),
            waits: Rest::default(),
            closing: false,
            stopping: false,
            post,
            lines: Gathering::begin(),
            farewells: Farewells::new()?,
            queue: Queue::default(),
            refused: LingerList::default(),
        };
        events.take_over(refused);
        events.poller.add(events.farewells.as_fd(), DUE, Interest::Read)?;
        Ok(events)
    }

    /// Accepts clients from now on. Until then another generation may serve the same sockets.
    fn begin(&mut self) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        self.watch_listeners()
    }

    fn is_done(&self) -> bool {
        self.listeners.is_empty() && self.guests.len() == 0 && self.refused.is_empty()
    }

    /// Waits once, and serves everyone who is ready once.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.wait(&mut events)?;
        self.limits.tick();
        let again = self.again.len();
        for &event in &events {
            self.happened(event)?;
        }
        self.events = events;
        for _ in 0..again {
            let Some(key) = self.again.pop_front() else { break };
            if let Some(visitor) = self.guests.get_mut(key) {
                visitor.queued = false;
            }
            self.happened(Event { key, readable: true, hangup: true })?;
        }
        self.expire()
    }

    fn happened(&mut self, event: Event) -> io::Result<()> {
        match event.key {
            // An edge also tells of room to write, which these always have.
            CLOSED | STOPPED | FREED | ASKED | DUE if !event.readable => Ok(()),
            ASKED => {
                self.post.heed();
                Ok(())
            }
            DUE => {
                self.farewells.fall_due(self.duty);
                Ok(())
            }
            CLOSED => self.close(),
            STOPPED => self.stop(),
            FREED if self.aside == Some(Aside::Full) => self.watch_listeners(),
            FREED => Ok(()),
            key if key < CLOSED && self.batch.is_some() => self.receive(key as usize),
            key if key < CLOSED => self.accept(key as usize),
            key if (REFUSED..REFUSED * 2).contains(&key) => {
                self.hear_refused(key);
                Ok(())
            }
            key => self.advance(event, key),
        }
    }

    /// Lets a connection do what it can.
    fn advance(&mut self, event: Event, key: u64) -> io::Result<()> {
        // It may have ended since the event happened.
        let Some(visitor) = self.guests.get_mut(key) else { return Ok(()) };
        if visitor.queued {
            // Its turn comes.
            return Ok(());
        }
        let appetite = match P::EDGE {
            false if !event.hangup => Appetite::Once,
            // The kernel tells of room for more, which nobody waits for.
            true if !event.readable && !event.hangup && !visitor.connection.owes() => return Ok(()),
            // On a unix socket a receive also stops behind descriptors that were sent along (unix(7)).
            true if !event.hangup && self.duty.settings.protocol == Protocol::Tcp => Appetite::WhileFull,
            _ => Appetite::All,
        };
        let (before, prefaced) = (visitor.connection.totals(), visitor.connection.is_prefaced());
        let wait = visitor.step(&mut self.poller, &mut self.scratch, self.duty, appetite);
        let connection = &visitor.connection;
        // The bytes of a header are not in the totals.
        if prefaced || connection.totals() != before {
            self.limits.moved(key);
        }
        if prefaced && !connection.is_prefaced() {
            self.limits.introduced(key);
        }
        self.settle(key, wait)
    }

    /// Sees to it that a connection is told of what it waits for.
    fn settle(&mut self, key: u64, mut wait: Wait) -> io::Result<()> {
        let Some(visitor) = self.guests.get_mut(key) else { return Ok(()) };
        while self.stopping && wait == Wait::Readable && !visitor.connection.ending() {
            // Perhaps it was not hungry: what has arrived is answered first.
            wait = visitor.step(&mut self.poller, &mut self.scratch, self.duty, Appetite::All);
            if wait == Wait::Readable {
                visitor.connection.stop();
                wait = visitor.step(&mut self.poller, &mut self.scratch, self.duty, Appetite::All);
            }
        }
        let Visitor { socket, connection, interest, queued, .. } = visitor;
        let wanted = match wait {
            // Who is introduced has gone on, see `step`.
            Wait::Introduced | Wait::Readable => Interest::Read,
            Wait::Writable => Interest::Write,
            Wait::Turn => {
                if self.stopping && connection.is_talker() {
                    connection.stop();
                }
                *queued = true;
                self.again.push_back(key);
                return Ok(());
            }
            Wait::Linger => {
                self.limits.stop(key);
                self.lingering.push_back((Instant::now() + LINGER, key));
                // Its end of file may be there already.
                *queued = true;
                self.again.push_back(key);
                Interest::Read
            }
            Wait::Closed(end) => {
                self.bid_farewell(key, end);
                return Ok(());
            }
        };
        if *interest != wanted {
            *interest = wanted;
            let modified = self.poller.modify(socket.as_fd(), key, wanted);
            // It would wait for ever.
            modified.unwrap_or_else(|error| self.bid_farewell(key, End::from(error)));
        }
        Ok(())
    }

    /// Brings all connections to their end.
    fn stop(&mut self) -> io::Result<()> {
        self.poller.remove(self.duty.gate.stopped());
        self.stopping = true;
        for key in self.guests.keys() {
            self.advance(Event { key, readable: true, hangup: true }, key)?;
        }
        Ok(())
    }

    /// Ends all who are still there when the time to drain is over.
    fn cut(&mut self) {
        if self.stopping && self.duty.cut.get().is_some_and(|cut| *cut <= Instant::now()) {
            self.guests.keys().into_iter().for_each(|key| self.bid_farewell(key, End::Cut));
            self.let_go_of_refused();
        }
    }

    fn look_at_rest(&mut self) -> io::Result<()> {
        match self.aside {
            Some(Aside::Short(until)) if until <= Instant::now() => self.watch_listeners(),
            _ => Ok(()),
        }
    }
}
