//! The event loop: one thread serves many connections over any [`Poller`].
//!
//! The poller reports the ready sockets, and each ready connection advances by one step (`Connection::advance`). Nothing in
//! here blocks on a single peer: what a slow peer has not read yet is kept with its connection, which is not read meanwhile.

use std::{collections::VecDeque, io, os::fd::AsFd, time::Instant};

use super::workers;
use crate::{
    access::slots::Waker,
    config::Protocol,
    report::{close_reason::CloseReason, logging::LineBuffer},
    serve::{
        backoff::Backoff,
        context::ListenerContext,
        datagram::{self, MOST},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::{LINGER, ReadMode, Step},
    sys::{
        mmsg::Batch,
        poller::{Interest, Poller, Readiness, Records},
        shared::Mapping,
        worker_state::WorkerState,
    },
};

mod accept;
mod accept_probe;
mod close_log;
mod hang_ups;
mod holds;
mod loop_connection;
mod refused;
mod slab;
pub(super) mod start;
mod timeout_queue;
mod timeouts;
mod wait;

use accept_probe::AcceptProbe;
use close_log::CloseLog;
use holds::Holds;
use loop_connection::LoopConnection;
use refused::REFUSED;
use slab::Slab;
use timeouts::TimeLimits;

/// The listener was closed: accept the backlog, then no more.
const CLOSED: u64 = 1 << 30;
/// Shutdown: end the open connections.
const STOPPED: u64 = CLOSED + 1;
/// A connection slot may be free.
const FREED: u64 = CLOSED + 2;
/// The supervisor pings this loop.
const ASKED: u64 = CLOSED + 3;
/// Close lines are due.
const DUE: u64 = CLOSED + 4;
/// Connections that a plan of faults holds are due.
const HELD: u64 = CLOSED + 5;
/// Clients of held connections are gone.
const GONE: u64 = CLOSED + 6;

/// Connections accepted in one turn, and full batches of datagrams: then other sockets have their turn.
const PER_TURN: usize = 16;

/// Serves `sockets`, whose indices are their keys, to the end, and leaves the vector empty.
pub(super) fn serve<P: Poller>(
    context: &ListenerContext,
    sockets: &mut Vec<Listener>,
    poller: P,
) -> io::Result<()> {
    serve_on(context, sockets, LingerList::default(), poller)
}

/// As [`serve`], and lingers on clients that another worker has refused and that have not read the reason yet.
pub(super) fn serve_on<P: Poller>(
    context: &ListenerContext,
    sockets: &mut Vec<Listener>,
    refused: LingerList,
    poller: P,
) -> io::Result<()> {
    match context.settings.protocol {
        Protocol::UnixSeqpacket => run(context, sockets, refused, Records(poller)),
        _ => run(context, sockets, refused, poller),
    }
}

fn run<P: Poller>(
    context: &ListenerContext,
    sockets: &mut Vec<Listener>,
    refused: LingerList,
    poller: P,
) -> io::Result<()> {
    context.workers.register_loop(|worker| {
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
            // Connections that the failure left half done are closed with the loop.
            events
                .connections
                .keys()
                .into_iter()
                .for_each(|key| events.close_connection(key, CloseReason::LoopFailed));
        }
        events.close_log.write(context);
        context.finish_replies();
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
    /// Keys with more to do than one turn allows.
    ready_list: VecDeque<u64>,
    /// Lingering connections with their deadlines; all linger equally long, so the first is due first.
    lingering: VecDeque<(Instant, u64)>,
    limits: TimeLimits,
    /// Only of a listener with a plan of faults.
    holds: Option<Holds>,
    /// Becomes readable when a connection slot may be free.
    waker: Waker,
    /// Why the listening sockets are not polled, if they are not.
    pause: Option<AcceptPause>,
    /// Indices of busy datagram sockets: there, many datagrams arrive at once.
    busy: Vec<usize>,
    /// After a shortage in accept(2) or in watching a listener, and after one in the wait itself.
    accept_backoff: Backoff,
    wait_backoff: Backoff,
    /// The listener was closed, and the backlog is being accepted.
    closing: bool,
    stopping: bool,
    worker: &'a WorkerState<'a>,
    /// Log lines of this turn, written at its end.
    lines: LineBuffer,
    close_log: CloseLog,
    accept_probe: AcceptProbe,
    refused: LingerList,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AcceptPause {
    /// All connection slots are taken.
    Full,
    /// Descriptors or memory are short: back-off until then.
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
            scratch: context.scratch()?,
            batch,
            ready_list: VecDeque::new(),
            lingering: VecDeque::new(),
            limits: TimeLimits::new(&context.settings),
            holds: context.faults.is_some().then(Holds::new).transpose()?,
            waker: Waker::new()?,
            pause: None,
            busy: Vec::new(),
            accept_backoff: Backoff::of_shortage(),
            wait_backoff: Backoff::of_shortage(),
            closing: false,
            stopping: false,
            worker,
            lines: LineBuffer::begin(),
            close_log: CloseLog::new()?,
            accept_probe: AcceptProbe::default(),
            refused: LingerList::default(),
        };
        events.adopt_refused(refused);
        events.poller.add(events.close_log.as_fd(), DUE, Interest::Read)?;
        if let Some(holds) = &events.holds {
            events.poller.add(holds.as_fd(), HELD, Interest::Read)?;
            events.poller.add(holds.hang_ups.as_fd(), GONE, Interest::Read)?;
        }
        Ok(events)
    }

    /// Starts to poll the listening sockets. Until then another generation may serve them.
    fn begin(&mut self) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        self.watch_listeners()
    }

    fn is_done(&self) -> bool {
        self.listeners.is_empty() && self.connections.len() == 0 && self.refused.is_empty()
    }

    /// Waits once, and serves every ready socket once.
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
            // An edge also reports POLLOUT, and these descriptors are always writable.
            CLOSED | STOPPED | FREED | ASKED | DUE | HELD if !event.readable => Ok(()),
            ASKED => {
                self.worker.acknowledge_waker();
                Ok(())
            }
            DUE => {
                self.close_log.on_timer(self.context);
                Ok(())
            }
            HELD => self.advance_held(),
            GONE => {
                self.close_hung_up();
                Ok(())
            }
            CLOSED => self.close(),
            STOPPED => self.stop(),
            FREED if self.pause == Some(AcceptPause::Full) => self.watch_listeners(),
            FREED => Ok(()),
            key if key < CLOSED && self.batch.is_some() => self.receive(key as usize),
            key if key < CLOSED => self.accept(key as usize),
            key if (REFUSED..REFUSED * 2).contains(&key) => {
                self.read_refused(key);
                Ok(())
            }
            key => self.advance(event, key),
        }
    }

    /// Advances a connection by one step.
    fn advance(&mut self, event: Readiness, key: u64) -> io::Result<()> {
        // Stale event: the connection may have closed since.
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        if entry.queued {
            return Ok(());
        }
        let mode = match P::EDGE {
            false if !event.hangup => ReadMode::Once,
            // An edge for writability, while no write is pending.
            true if !event.readable && !event.hangup && !entry.connection.has_pending() => return Ok(()),
            // On a unix socket a short read can also mean that the kernel stopped at passed descriptors (unix(7)).
            true if !event.hangup && self.context.settings.protocol == Protocol::Tcp => ReadMode::UntilShort,
            _ => ReadMode::UntilWouldBlock,
        };
        let (before, awaiting_proxy_header) =
            (entry.connection.totals(), entry.connection.awaits_proxy_header());
        let wait = entry.step(&mut self.poller, &mut self.scratch, self.context, mode);
        let connection = &entry.connection;
        // The totals exclude the bytes of a PROXY header, and an empty record has none.
        if P::RECORDS || awaiting_proxy_header || connection.totals() != before {
            self.limits.transferred(key);
        }
        if awaiting_proxy_header && !connection.awaits_proxy_header() {
            self.limits.header_read(key);
        }
        self.update_interest(key, wait)
    }

    /// Polls a connection for what it waits for; puts it in the ready list, lets it linger, or closes it.
    fn update_interest(&mut self, key: u64, mut wait: Step) -> io::Result<()> {
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        while self.stopping && wait == Step::Readable && !entry.connection.ending() {
            // The last step may not have read everything: drain the socket before stopping.
            wait = entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::UntilWouldBlock);
            if wait == Step::Readable {
                entry.connection.stop();
                wait =
                    entry.step(&mut self.poller, &mut self.scratch, self.context, ReadMode::UntilWouldBlock);
            }
        }
        if entry.faults.is_some() {
            match wait {
                Step::Readable | Step::Writable => return self.hold(key, wait),
                Step::Linger => self.unpark(key)?,
                _ => {}
            }
        }
        let Some(entry) = self.connections.get_mut(key) else { return Ok(()) };
        let LoopConnection { socket, connection, interest, queued, .. } = entry;
        let wanted = match wait {
            // `LoopConnection::step` has gone on after the header.
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
                // The peer's FIN may have arrived already.
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
            // Without its interest registered, the connection would hang.
            modified.unwrap_or_else(|error| self.close_connection(key, CloseReason::from(error)));
        }
        Ok(())
    }

    /// Ends all connections: each answers what has arrived, then half-closes.
    fn stop(&mut self) -> io::Result<()> {
        self.poller.remove(self.context.slots.stopped());
        self.stopping = true;
        for key in self.connections.keys() {
            self.advance(Readiness { key, readable: true, hangup: true }, key)?;
        }
        Ok(())
    }

    /// Closes the connections that are left at the drain timeout.
    fn cut(&mut self) {
        if self.stopping && self.context.cut.get().is_some_and(|cut| *cut <= Instant::now()) {
            self.connections
                .keys()
                .into_iter()
                .for_each(|key| self.close_connection(key, CloseReason::DrainTimeout));
            self.close_refused();
        }
    }

    fn resume_after_backoff(&mut self) -> io::Result<()> {
        match self.pause {
            Some(AcceptPause::Short(until)) if until <= Instant::now() => self.watch_listeners(),
            _ => Ok(()),
        }
    }
}
