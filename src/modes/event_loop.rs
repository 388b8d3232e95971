//! One thread, many connections: an event loop over any [`Poller`].
//!
//! The loop asks the poller who is ready, and lets each of them [advance](Connection::advance) one step. Nothing in here
//! waits for a single peer. What a peer does not take is kept with its connection, which is not read meanwhile.

use std::{collections::VecDeque, io, os::fd::AsFd, time::Instant};

use super::workers;
use crate::modes::event_loop::slab::Slab;
use crate::{
    access::slots::Waker,
    config::Protocol,
    report::{close_reason::CloseReason, logging::LineBuffer},
    serve::{
        context::{ListenerContext, Rest},
        datagram::{self, MOST},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::{LINGER, ReadMode, SCRATCH, Step},
    sys::{
        mmsg::Batch,
        poller::{Interest, Poller, Readiness},
        shared::Mapping,
        worker_state::WorkerState,
    },
};

mod accept;
mod accept_probe;
mod close_log;
mod loop_connection;
mod refused;
mod slab;
pub(super) mod start;
mod timeout_queue;
mod timeouts;
mod wait;

use crate::modes::event_loop::accept_probe::AcceptProbe;
use crate::modes::event_loop::close_log::CloseLog;
use crate::modes::event_loop::timeouts::TimeLimits;
use loop_connection::LoopConnection;
use refused::REFUSED;

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
pub(super) fn serve<P: Poller>(
    context: &ListenerContext,
    sockets: &mut Vec<Listener>,
    poller: P,
) -> io::Result<()> {
    serve_on(context, sockets, LingerList::default(), poller)
}

/// As [`serve`], with clients that another worker has refused and that have not read why yet.
pub(super) fn serve_on<P: Poller>(
    context: &ListenerContext,
    sockets: &mut Vec<Listener>,
    refused: LingerList,
    poller: P,
) -> io::Result<()> {
    context.worker_states.register_loop(|worker| {
        let mut events = EventLoop::new(context, sockets, refused, worker, poller)?;
        if !context.startup.meet() {
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
            events
                .connections
                .keys()
                .into_iter()
                .for_each(|key| events.close_connection(key, CloseReason::LoopFailed));
        }
        events.close_log.tell(context);
        served
    })
}

struct EventLoop<'a, P> {
    context: &'a ListenerContext,
    poller: P,
    listeners: &'a mut Vec<Listener>,
    connections: Slab<LoopConnection>,
    events: Vec<Readiness>,
    scratch: Mapping,
    batch: Option<Batch>,
    /// Who has more to do than one turn allows.
    ready_list: VecDeque<u64>,
    /// Who is to have read its last words by then; all wait equally long, so the first is due first.
    lingering: VecDeque<(Instant, u64)>,
    limits: TimeLimits,
    /// Rings when there may be a place again.
    waker: Waker,
    /// Why the listeners are not watched.
    pause: Option<Pause>,
    /// Datagram sockets where many come at once.
    busy: Vec<usize>,
    rest: Rest,
    waits: Rest,
    /// What waits is accepted for the last time.
    closing: bool,
    stopping: bool,
    worker: &'a WorkerState<'a>,
    /// What is logged in one turn, written at its end.
    lines: LineBuffer,
    /// Ends of connections that are to be told of.
    close_log: CloseLog,
    /// How many wait at a listener.
    queue: AcceptProbe,
    /// Clients that were refused and read why.
    refused: LingerList,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// All places are taken.
    Full,
    /// Descriptors or memory are short, until then.
    Short(Instant),
}

impl<'a, P: Poller> EventLoop<'a, P> {
    fn new(
        context: &'a ListenerContext,
        listeners: &'a mut Vec<Listener>,
        refused: LingerList,
        worker: &'a WorkerState<'a>,
        mut poller: P,
    ) -> io::Result<Self> {
        listeners.iter().try_for_each(|listener| poller.admits(listener.as_fd()))?;
        let slots = &context.slots;
        poller.add(slots.closed(), CLOSED, Interest::Read)?;
        poller.add(slots.stopped(), STOPPED, Interest::Read)?;
        worker.begin_wait();
        if let Some(waker) = worker.waker() {
            poller.add(waker, ASKED, Interest::Read)?;
        }
        let stream = context.settings.protocol.is_stream();
        let batch = (!stream).then(|| datagram::batch(context, listeners.iter(), MOST)).transpose()?;
        let mut events = EventLoop {
            context,
            poller,
            listeners,
            connections: Slab::new(),
            events: Vec::new(),
            scratch: Mapping::new(SCRATCH)?,
            batch,
            ready_list: VecDeque::new(),
            lingering: VecDeque::new(),
            limits: TimeLimits::new(&context.settings),
            waker: Waker::new()?,
            pause: None,
            busy: Vec::new(),
            rest: Rest::default(),
            waits: Rest::default(),
            closing: false,
            stopping: false,
            worker,
            lines: LineBuffer::begin(),
            close_log: CloseLog::new()?,
            queue: AcceptProbe::default(),
            refused: LingerList::default(),
        };
        events.take_over(refused);
        events.poller.add(events.close_log.as_fd(), DUE, Interest::Read)?;
        Ok(events)
    }

    /// Accepts clients from now on. Until then another generation may serve the same sockets.
    fn begin(&mut self) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        self.watch_listeners()
    }

    fn is_done(&self) -> bool {
        self.listeners.is_empty() && self.connections.len() == 0 && self.refused.is_empty()
    }

    /// Waits once, and serves everyone who is ready once.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.wait(&mut events)?;
        self.limits.tick();
        let ready_list = self.ready_list.len();
        for &event in &events {
            self.dispatch(event)?;
        }
        self.events = events;
        for _ in 0..ready_list {
            let Some(key) = self.ready_list.pop_front() else { break };
            if let Some(entry) = self.connections.get_mut(key) {
                entry.queued = false;
            }
            self.dispatch(Readiness { key, readable: true, hangup: true })?;
        }
        self.expire()
    }

    fn dispatch(&mut self, event: Readiness) -> io::Result<()> {
        match event.key {
            // An edge also tells of room to write, which these always have.
            CLOSED | STOPPED | FREED | ASKED | DUE if !event.readable => Ok(()),
            ASKED => {
                self.worker.acknowledge_waker();
                Ok(())
            }
            DUE => {
                self.close_log.fall_due(self.context);
                Ok(())
            }
            CLOSED => self.close(),
            STOPPED => self.stop(),
            FREED if self.pause == Some(Pause::Full) => self.watch_listeners(),
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
    fn advance(&mut self, event: Readiness, key: u64) -> io::Result<()> {
        // It may have ended since the event happened.
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        if entry.queued {
            // Its turn comes.
            return Ok(());
        }
        let mode = match P::EDGE {
            false if !event.hangup => ReadMode::Once,
            // The kernel tells of room for more, which nobody waits for.
            true if !event.readable && !event.hangup && !entry.connection.has_pending() => return Ok(()),
            // On a unix socket a receive also stops behind descriptors that were sent along (unix(7)).
            true if !event.hangup && self.context.settings.protocol == Protocol::Tcp => ReadMode::UntilShort,
            _ => ReadMode::UntilWouldBlock,
        };
        let (before, awaiting_proxy_header) =
            (entry.connection.totals(), entry.connection.awaits_proxy_header());
        let wait = entry.step(&mut self.poller, &mut self.scratch, self.context, mode);
        let connection = &entry.connection;
        // The bytes of a header are not in the totals.
        if awaiting_proxy_header || connection.totals() != before {
            self.limits.moved(key);
        }
        if awaiting_proxy_header && !connection.awaits_proxy_header() {
            self.limits.proxied_admitted(key);
        }
        self.update_interest(key, wait)
    }

    /// Sees to it that a connection is told of what it waits for.
    fn update_interest(&mut self, key: u64, mut wait: Step) -> io::Result<()> {
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        while self.stopping && wait == Step::Readable && !entry.connection.ending() {
            // Perhaps it was not hungry: what has arrived is answered first.
            wait = entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::UntilWouldBlock);
            if wait == Step::Readable {
                entry.connection.stop();
                wait =
                    entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::UntilWouldBlock);
            }
        }
        let LoopConnection { socket, connection, interest, queued, .. } = entry;
        let wanted = match wait {
            // Who is introduced has gone on, see `step`.
            Step::HeaderRead | Step::Readable => Interest::Read,
            Step::Writable => Interest::Write,
            Step::Yield => {
                if self.stopping && connection.is_streaming() {
                    connection.stop();
                }
                *queued = true;
                self.ready_list.push_back(key);
                return Ok(());
            }
            Step::Linger => {
                self.limits.stop(key);
                self.lingering.push_back((Instant::now() + LINGER, key));
                // Its end of file may be there already.
                *queued = true;
                self.ready_list.push_back(key);
                Interest::Read
            }
            Step::Closed(end) => {
                self.close_connection(key, end);
                return Ok(());
            }
        };
        if *interest != wanted {
            *interest = wanted;
            let modified = self.poller.modify(socket.as_fd(), key, wanted);
            // It would wait for ever.
            modified.unwrap_or_else(|error| self.close_connection(key, CloseReason::from(error)));
        }
        Ok(())
    }

    /// Brings all connections to their end.
    fn stop(&mut self) -> io::Result<()> {
        self.poller.remove(self.context.slots.stopped());
        self.stopping = true;
        for key in self.connections.keys() {
            self.advance(Readiness { key, readable: true, hangup: true }, key)?;
        }
        Ok(())
    }

    /// Ends all who are still there when the time to drain is over.
    fn cut(&mut self) {
        if self.stopping && self.context.cut.get().is_some_and(|cut| *cut <= Instant::now()) {
            self.connections
                .keys()
                .into_iter()
                .for_each(|key| self.close_connection(key, CloseReason::DrainTimeout));
            self.let_go_of_refused();
        }
    }

    fn look_at_rest(&mut self) -> io::Result<()> {
        match self.pause {
            Some(Pause::Short(until)) if until <= Instant::now() => self.watch_listeners(),
            _ => Ok(()),
        }
    }
}
