//! A listener on duty: what every strategy is given. Its sockets come separately: whoever accepts owns them, and closes
//! them when it has accepted the last connection.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread::available_parallelism,
    time::{Duration, Instant},
};

use log::{error, info, warn};
use socket2::Socket;

use crate::{
    admission::{Gate, Permit},
    config::{self, Workers},
    connection::{Context, End},
    listener::{Listener, Peer, Refusal},
    logging::Seldom,
    service::{self, Service},
    stats::Stats,
    strategy::blocking,
    sys::{
        interrupt::Crew,
        shared::{Shared, Slots},
    },
    watch::{Patience, Ready, Watch},
};

/// The first rest after a shortage, and the longest.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A listener on duty.
pub struct Duty {
    /// What the configuration says.
    pub settings: config::Listener,
    /// Who answers.
    pub service: Box<dyn Service>,
    /// What happened so far.
    pub stats: Arc<Shared<Stats>>,
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// The threads that serve it in this process.
    pub crew: Crew,
}

impl Duty {
    /// Makes ready to serve.
    pub fn new(settings: config::Listener, stats: Arc<Shared<Stats>>) -> io::Result<Duty> {
        let gate = Gate::new(settings.max_connections, settings.max_requests, Arc::clone(&stats))?;
        let service = service::new(&settings);
        Ok(Duty { settings, service, stats, gate: Arc::new(gate), crew: Crew::default() })
    }

    /// The same duty in a forked process of a pool, which tells in `busy[worker]` how many it has open.
    pub fn of_worker(&self, busy: Arc<Slots<AtomicU32>>, worker: usize) -> io::Result<Duty> {
        Ok(Duty {
            settings: self.settings.clone(),
            service: service::new(&self.settings),
            stats: Arc::clone(&self.stats),
            gate: Arc::new(self.gate.of_worker(busy, worker)?),
            crew: Crew::default(),
        })
    }

    /// Stops: whoever waits for a client leaves, whoever serves one ends politely.
    pub fn stop(&self) {
        self.gate.close();
        self.crew.interrupt();
    }

    /// The size of the pool, or `None` if each request has a thread or process of its own.
    pub fn pool(&self) -> Option<usize> {
        let workers = match self.settings.workers {
            Workers::PerRequest => return None,
            Workers::Auto => available_parallelism().map_or(1, usize::from),
            Workers::Count(n) => n as usize,
        };
        // More could not be let in anyway.
        Some(workers.min(self.settings.max_connections as usize).max(1))
    }

    /// What all connections share.
    pub fn context(&self) -> Context<'_> {
        Context { settings: &self.settings, stats: &self.stats }
    }

    /// Serves one connection in this thread, to its end. A service that panics loses this connection only.
    pub fn serve(&self, guest: Guest, scratch: &mut [u8]) {
        let report = self.converse(&guest, scratch);
        self.farewell(&guest.peer, guest.opened.elapsed(), report);
    }

    /// As [`Duty::serve`], but leaves the report to the caller.
    pub fn converse(&self, guest: &Guest, scratch: &mut [u8]) -> Report {
        let mut report = Report { received: 0, sent: 0, end: End::Panicked };
        let conversation = || blocking::converse(self, guest, scratch, &mut report);
        // The scratch buffer and the report hold plain numbers, whatever state the panic left them in.
        let _ = catch_unwind(AssertUnwindSafe(conversation));
        report
    }

    /// Counts and logs the end of a connection.
    pub fn farewell(&self, peer: &Peer, lasted: Duration, report: Report) {
        self.stats.ended(report.end);
        let Report { received, sent, end } = report;
        let (name, url) = (self.settings.name.as_str(), peer.url(self.settings.protocol));
        let time = Lasted(lasted);
        match end {
            End::Panicked | End::Killed(_) | End::Vanished => warn!(
                listener = name;
                "listener \"{name}\": {url} lost after {time}: {end}"
            ),
            _ => info!(
                listener = name;
                "listener \"{name}\": {url} closed after {time}, {received} bytes in, {sent} bytes out: {end}"
            ),
        }
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Why it ended.
    pub end: End,
}

/// A connection that was let in.
pub struct Guest {
    /// Its socket.
    pub socket: Socket,
    /// Who is there.
    pub peer: Peer,
    /// Its place, given back when the guest is dropped.
    pub permit: Permit,
    /// When it came.
    pub opened: Instant,
}

/// Where guests come in.
pub struct Door<'a> {
    duty: &'a Duty,
    watch: Watch<'a>,
    rest: Duration,
}

/// What happened at the door.
pub enum Arrival {
    /// Somebody came.
    Guest(Guest),
    /// Nobody yet: a signal, or somebody who left again.
    Nobody,
    /// There is a shortage: rest so long before looking again.
    Shortage(Duration),
    /// Nobody is let in any more.
    Closed,
}

impl<'a> Door<'a> {
    /// A door to `sockets`, see [`Watch::new`].
    pub fn new(duty: &'a Duty, sockets: &'a [Listener], by_signals: bool) -> io::Result<Door<'a>> {
        let watch = Watch::new(sockets.iter().collect(), &duty.gate, by_signals)?;
        Ok(Door { duty, watch, rest: REST.0 })
    }

    /// The next guest; waits at the limit, and rests when descriptors run out. `None` when the door is closed.
    pub fn accept(&mut self) -> Option<Guest> {
        let mut permit = self.duty.gate.enter()?;
        loop {
            match self.look(permit, &Patience::default()) {
                (Arrival::Guest(guest), _) => return Some(guest),
                (Arrival::Shortage(time), Some(unused)) => {
                    self.duty.gate.rest(time);
                    permit = unused;
                }
                (Arrival::Nobody, Some(unused)) => permit = unused,
                _ => return None,
            }
        }
    }

    /// Waits for a client once. A permit that was not used is returned.
    pub fn look(&mut self, permit: Permit, patience: &Patience) -> (Arrival, Option<Permit>) {
        let listener = match self.watch.wait(patience) {
            Ready::Socket(listener) => listener,
            Ready::Nothing => return (Arrival::Nobody, Some(permit)),
            Ready::Closed => return (Arrival::Closed, Some(permit)),
        };
        let gate = &self.duty.gate;
        if gate.claim(1) == 0 {
            return (Arrival::Nobody, Some(permit));
        }
        let accepted = listener.accept();
        gate.settle(1, usize::from(accepted.is_ok()));
        match accepted {
            Ok((socket, peer)) => {
                self.rest = REST.0;
                let mut guest = Guest { socket, peer, permit, opened: Instant::now() };
                guest.permit.open();
                self.duty.stats.served.fetch_add(1, Relaxed);
                (Arrival::Guest(guest), None)
            }
            // A socket that was blocking does not block any more: we were asked to stop, and nobody waits.
            Err(Refusal::Nothing) if self.watch.blocks() => (Arrival::Closed, Some(permit)),
            Err(Refusal::Nothing | Refusal::Again) => (Arrival::Nobody, Some(permit)),
            Err(Refusal::Exhausted(error)) => {
                let time = self.rest;
                self.rest = (time * 2).min(REST.1);
                self.exhausted(&error);
                (Arrival::Shortage(time), Some(permit))
            }
            Err(Refusal::Broken(error)) => {
                let name = &self.duty.settings.name;
                error!("listener \"{name}\": cannot accept at {}: {error}", listener.url());
                self.duty.stats.errors.fetch_add(1, Relaxed);
                self.duty.gate.close();
                (Arrival::Closed, Some(permit))
            }
        }
    }

    fn exhausted(&self, error: &io::Error) {
        static SELDOM: Seldom = Seldom::new(Duration::from_secs(10));
        self.duty.stats.exhausted.fetch_add(1, Relaxed);
        if let Some(more) = SELDOM.allow() {
            let name = &self.duty.settings.name;
            warn!(
                "listener \"{name}\": cannot accept: {error}; clients wait until descriptors are free, \
                 raise the limit of open files or lower max-connections ({more} such lines left out)"
            );
        }
    }
}

/// A time for people: three digits are enough.
pub struct Lasted(pub Duration);

impl std::fmt::Display for Lasted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3?}", self.0)
    }
}
