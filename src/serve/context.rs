//! A listener on duty: what every strategy is given. Its sockets come separately: whoever accepts owns them, and closes
//! them when it has accepted the last connection.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    access::{
        guard::Guard,
        limits::Limits,
        rules::Rules,
        slots::{ConnectionSlots, Permit, PoolProcess},
        sources::SourceSlot,
    },
    config::{self, WhenFull, Workers},
    report::{close_reason::CloseReason, stats::Stats},
    serve::listener_set::{LingerList, ListenerSet, Ready, WaitOptions},
    service::{self, Service},
    socket::{
        address::Peer,
        listener::{AcceptError, Listener},
    },
    stream::{
        blocking::{self, ConnectionSummary},
        connection::{Connection, Context},
    },
    sys::{
        interrupt::WorkerSet,
        shared::{Shared, SharedArray},
        worker_state::{WorkerState, WorkerStates},
    },
};

/// A listener on duty.
pub struct ListenerContext {
    /// What the configuration says.
    pub settings: config::Listener,
    /// Who answers.
    pub service: Box<dyn Service>,
    /// What happened so far.
    pub stats: Arc<Shared<Stats>>,
    /// How many may come in.
    pub slots: Arc<ConnectionSlots>,
    /// Who may, if not everybody.
    pub rules: Option<Arc<Rules>>,
    /// How fast, and how many of each source, if that is limited.
    pub limits: Option<Arc<Limits>>,
    /// Which datagrams are not to be answered, where that needs a guard. Forked processes share what it remembers.
    pub guard: Option<Arc<Guard>>,
    /// Which clients have not read their answers, where those of one could keep others from being answered.
    pub unread: Option<Arc<Unread>>,
    /// The threads that serve it in this process.
    pub workers: WorkerSet,
    /// Where they stand.
    pub worker_states: WorkerStates,
    /// When those who are still there are cut, if that is decided: then nobody new comes.
    pub cut: OnceLock<Instant>,
    /// Without a supervisor that decides on that: how long after an interrupt they are cut.
    pub drain: Option<Duration>,
    /// In a process of its own: tells the daemon that nobody accepts here any more, because another generation does.
    pub on_left: Option<Box<dyn Fn() + Send + Sync>>,
    /// Where its workers meet the one that starts them.
    pub startup: Startup,
}

impl ListenerContext {
    /// Makes ready to serve, at once.
    pub fn new(settings: config::Listener, stats: Arc<Shared<Stats>>) -> io::Result<ListenerContext> {
        let slots =
            ConnectionSlots::new(settings.max_connections, settings.max_requests, Arc::clone(&stats))?;
        let service = service::new(&settings);
        let rules = Rules::of(&settings).map(Arc::new);
        let limits = Limits::of(&settings)?.map(Arc::new);
        let guard = Guard::new(&settings)?.map(Arc::new);
        let unread = Unread::of(&settings)?.map(Arc::new);
        Ok(ListenerContext {
            settings,
            service,
            guard,
            unread,
            stats,
            slots: Arc::new(slots),
            rules,
            limits,
            workers: WorkerSet::default(),
            worker_states: WorkerStates::default(),
            cut: OnceLock::new(),
            drain: None,
            on_left: None,
            startup: Startup::begun(),
        })
    }

    /// The same duty in a forked process of a pool, which tells in `busy[worker]` how many it has open.
    pub fn of_worker(
        &self,
        busy: Arc<SharedArray<PoolProcess>>,
        worker: usize,
        startup: Startup,
    ) -> io::Result<ListenerContext> {
        Ok(ListenerContext {
            settings: self.settings.clone(),
            service: service::new(&self.settings),
            stats: Arc::clone(&self.stats),
            slots: Arc::new(self.slots.of_worker(busy, worker)?),
            rules: self.rules.clone(),
            limits: self.limits.clone(),
            guard: self.guard.clone(),
            unread: self.unread.clone(),
            workers: WorkerSet::default(),
            worker_states: WorkerStates::default(),
            cut: OnceLock::new(),
            drain: None,
            on_left: None,
            startup,
        })
    }

    /// To be called when nobody accepts any more.
    pub fn say_left(&self) {
        if let Some(on_left) = self.on_left.as_ref().filter(|_| self.slots.is_handed_over()) {
            on_left();
        }
    }

    /// Stops: whoever waits for a client leaves, whoever serves one ends politely.
    pub fn stop(&self) {
        self.slots.stop();
        self.workers.interrupt();
    }

    /// Gives up a start that has not succeeded, because of this error or of another listener's; nobody accepts here.
    pub fn give_up_start(&self, error: Option<io::Error>) {
        self.startup.give_up(error);
        self.slots.close();
    }

    /// Does the `work` of a thread that waits for clients at its post, and can be interrupted.
    pub fn with_worker<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        self.workers.join(|| self.worker_states.register(work))
    }

    /// The size of the pool, or `None` if each request has a thread or process of its own.
    pub fn pool(&self) -> Option<usize> {
        (self.settings.workers != Workers::PerRequest).then(|| self.settings.pool())
    }

    /// What all connections share.
    pub fn context(&self) -> Context<'_> {
        Context { settings: &self.settings, stats: &self.stats, cut: &self.cut, drain: self.drain }
    }

    /// Serves one connection in this thread, to its end. A service that panics loses this connection only.
    pub fn serve(&self, accepted: Accepted, scratch: &mut [u8]) {
        let Accepted { socket, peer, mut permit, opened } = accepted;
        let report = self.converse(&socket, &peer, opened, scratch, |place| permit.hold(Some(place)));
        self.log_close(&peer, report);
        // Its place is free when its descriptor is.
        drop(socket);
    }

    /// As [`ListenerContext::serve`], but leaves to the caller the report, and the place of whom a proxy speaks for.
    pub fn converse(
        &self,
        socket: &Socket,
        peer: &Peer,
        opened: Instant,
        scratch: &mut [u8],
        mut hold: impl FnMut(SourceSlot),
    ) -> ConnectionSummary {
        let mut report = ConnectionSummary::new(CloseReason::Panicked);
        let connection = self.connection(peer.clone());
        let admit_proxied = |connection: &Connection| {
            self.admit_proxied(connection).map(|place| place.into_iter().for_each(&mut hold))
        };
        let conversation = || {
            let context = self.context();
            blocking::converse(connection, socket, scratch, &context, opened, admit_proxied, &mut report)
        };
        // The scratch buffer and the report hold plain numbers, whatever state the panic left them in.
        let _ = catch_unwind(AssertUnwindSafe(conversation));
        report.lasted = opened.elapsed().saturating_sub(report.lingered);
        report.process = self.process_to_tell(socket, report.end);
        report
    }
}

/// A connection that was let in.
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// Who is there.
    pub peer: Peer,
    /// Its place, given back when the guest is dropped.
    pub permit: Permit,
    /// When it came.
    pub opened: Instant,
}

/// What became of a client that was accepted.
pub enum Admitted {
    /// It is let in.
    Accepted(Accepted),
    /// It was refused, and is closed.
    Refused,
    /// It was refused and told why: what it sends is to be read until it has ended, or its time is over.
    Lingers(Socket),
}

/// Where guests come in.
pub struct Acceptor<'a> {
    context: &'a ListenerContext,
    listener_set: ListenerSet<'a>,
    rest: Rest,
    broken: Option<io::Error>,
}

/// What happened at the door.
pub enum AcceptOutcome {
    /// Somebody came.
    Accepted(Accepted),
    /// Nobody yet: a signal, or somebody who left again.
    NoClient,
    /// There is a shortage: rest so long before looking again.
    Shortage(Duration),
    /// Nobody is let in any more.
    Closed,
}

impl<'a> Acceptor<'a> {
    /// A door to `sockets`, see [`ListenerSet::new`].
    pub fn new(
        context: &'a ListenerContext,
        sockets: &'a [Listener],
        worker: &'a WorkerState<'a>,
        by_signals: bool,
    ) -> io::Result<Acceptor<'a>> {
        let polls = by_signals || context.settings.when_full == WhenFull::Message;
        let listener_set = ListenerSet::new(sockets.iter().collect(), &context.slots, worker, polls)?;
        Ok(Acceptor { context, listener_set, rest: Rest::default(), broken: None })
    }

    /// What broke the listening socket, if it is not just closed; and the refused clients that have not read why yet.
    pub fn end(self) -> (io::Result<()>, LingerList) {
        (self.broken.map_or(Ok(()), Err), self.listener_set.lingering())
    }

    /// The next guest; waits at the limit, and rests when descriptors run out. `None` when the door is closed.
    pub fn accept(&mut self) -> Option<Accepted> {
        let mut permit =
            if self.context.queues_when_full() { Some(self.context.slots.acquire()?) } else { None };
        loop {
            match self.look(permit, &WaitOptions::default()) {
                (AcceptOutcome::Accepted(accepted), _) => return Some(accepted),
                // To stop takes precedence over those who cannot be let in.
                (AcceptOutcome::Shortage(time), unused) if self.context.slots.rest(time) => permit = unused,
                (AcceptOutcome::NoClient, unused) => permit = unused,
                _ => return None,
            }
        }
    }

    /// Waits for a client once. A permit that was not used is returned. Without one the client is let in if there is a place
    /// when it comes, and refused otherwise.
    pub fn look(
        &mut self,
        permit: Option<Permit>,
        patience: &WaitOptions,
    ) -> (AcceptOutcome, Option<Permit>) {
        match self.wait(patience) {
            Ready::Socket(listener) => self.take(listener, permit),
            Ready::Nothing => (AcceptOutcome::NoClient, permit),
            Ready::Closed => (AcceptOutcome::Closed, permit),
        }
    }

    /// The first half of [`Acceptor::look`]: waits for one of the sockets.
    pub fn wait(&mut self, patience: &WaitOptions) -> Ready<'a> {
        self.listener_set.wait(patience)
    }

    /// The second half: takes a client that waits there.
    pub fn take(
        &mut self,
        listener: &Listener,
        mut permit: Option<Permit>,
    ) -> (AcceptOutcome, Option<Permit>) {
        let slots = &self.context.slots;
        if slots.reserve(1) == 0 {
            return (AcceptOutcome::NoClient, permit);
        }
        let accepted = self.listener_set.call(|| listener.accept());
        self.listener_set.leave();
        let arrival = match self.context.receive(accepted, &mut permit) {
            Ok(admitted) => {
                self.rest = Rest::default();
                match admitted {
                    Admitted::Accepted(accepted) => AcceptOutcome::Accepted(accepted),
                    Admitted::Refused => AcceptOutcome::NoClient,
                    Admitted::Lingers(socket) => {
                        self.listener_set.linger(socket);
                        AcceptOutcome::NoClient
                    }
                }
            }
            // A socket that was blocking does not block any more: we were asked to stop, and nobody waits.
            Err(AcceptError::WouldBlock) if self.listener_set.is_asked_to_stop() => AcceptOutcome::Closed,
            Err(AcceptError::WouldBlock | AcceptError::Retry) => AcceptOutcome::NoClient,
            Err(AcceptError::Exhausted(error)) => {
                AcceptOutcome::Shortage(self.context.exhausted("accept", &error, &mut self.rest))
            }
            // Closed under its feet: another worker has refused who comes from now on.
            Err(AcceptError::Fatal(_)) if slots.is_closed_for_all() => AcceptOutcome::Closed,
            Err(AcceptError::Fatal(error)) => {
                self.broken = Some(io::Error::other(format!("cannot accept at {}: {error}", listener.url())));
                slots.close();
                AcceptOutcome::Closed
            }
        };
        (arrival, permit)
    }
}

pub use crate::serve::shortage::Rest;
pub use crate::serve::startup::Startup;
pub use crate::serve::unread::{AnswerRoom, Unread};

#[cfg(test)]
mod tests;
