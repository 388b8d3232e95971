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
        gate::{Gate, Permit, Worker},
        guard::Guard,
        limits::Limits,
        rules::Rules,
        sources::Place,
    },
    config::{self, WhenFull, Workers},
    report::{close_reason::End, stats::Stats},
    serve::listener_set::{LingerList, Patience, Ready, Watch},
    service::{self, Service},
    socket::{
        address::Peer,
        listener::{Listener, Refusal},
    },
    stream::{
        blocking::{self, Report},
        connection::{Connection, Context},
    },
    sys::{
        interrupt::Crew,
        post::{Post, Posts},
        shared::{Shared, Slots},
    },
};

/// A listener on duty.
pub struct Duty {
    /// What the configuration says.
    pub settings: config::Listener,
    /// Who answers.
    pub service: Box<dyn Service>,
    /// What happened so far.
    pub stats: Arc<Shared<Stats>>,
    /// How many may come in.
    pub gate: Arc<Gate>,
    /// Who may, if not everybody.
    pub rules: Option<Arc<Rules>>,
    /// How fast, and how many of each source, if that is limited.
    pub limits: Option<Arc<Limits>>,
    /// Which datagrams are not to be answered, where that needs a guard. Forked processes share what it remembers.
    pub guard: Option<Arc<Guard>>,
    /// Which clients have not read their answers, where those of one could keep others from being answered.
    pub unread: Option<Arc<Unread>>,
    /// The threads that serve it in this process.
    pub crew: Crew,
    /// Where they stand.
    pub posts: Posts,
    /// When those who are still there are cut, if that is decided: then nobody new comes.
    pub cut: OnceLock<Instant>,
    /// Without a supervisor that decides on that: how long after an interrupt they are cut.
    pub drain: Option<Duration>,
    /// In a process of its own: tells the daemon that nobody accepts here any more, because another generation does.
    pub on_left: Option<Box<dyn Fn() + Send + Sync>>,
    /// Where its workers meet the one that starts them.
    pub startup: Startup,
}

impl Duty {
    /// Makes ready to serve, at once.
    pub fn new(settings: config::Listener, stats: Arc<Shared<Stats>>) -> io::Result<Duty> {
        let gate = Gate::new(settings.max_connections, settings.max_requests, Arc::clone(&stats))?;
        let service = service::new(&settings);
        let rules = Rules::of(&settings).map(Arc::new);
        let limits = Limits::of(&settings)?.map(Arc::new);
        let guard = Guard::new(&settings)?.map(Arc::new);
        let unread = Unread::of(&settings)?.map(Arc::new);
        Ok(Duty {
            settings,
            service,
            guard,
            unread,
            stats,
            gate: Arc::new(gate),
            rules,
            limits,
            crew: Crew::default(),
            posts: Posts::default(),
            cut: OnceLock::new(),
            drain: None,
            on_left: None,
            startup: Startup::begun(),
        })
    }

    /// The same duty in a forked process of a pool, which tells in `busy[worker]` how many it has open.
    pub fn of_worker(&self, busy: Arc<Slots<Worker>>, worker: usize, startup: Startup) -> io::Result<Duty> {
        Ok(Duty {
            settings: self.settings.clone(),
            service: service::new(&self.settings),
            stats: Arc::clone(&self.stats),
            gate: Arc::new(self.gate.of_worker(busy, worker)?),
            rules: self.rules.clone(),
            limits: self.limits.clone(),
            guard: self.guard.clone(),
            unread: self.unread.clone(),
            crew: Crew::default(),
            posts: Posts::default(),
            cut: OnceLock::new(),
            drain: None,
            on_left: None,
            startup,
        })
    }

    /// To be called when nobody accepts any more.
    pub fn say_left(&self) {
        if let Some(on_left) = self.on_left.as_ref().filter(|_| self.gate.is_handed_over()) {
            on_left();
        }
    }

    /// Stops: whoever waits for a client leaves, whoever serves one ends politely.
    pub fn stop(&self) {
        self.gate.stop();
        self.crew.interrupt();
    }

    /// Gives up a start that has not succeeded, because of this error or of another listener's; nobody accepts here.
    pub fn give_up_start(&self, error: Option<io::Error>) {
        self.startup.give_up(error);
        self.gate.close();
    }

    /// Does the `work` of a thread that waits for clients at its post, and can be interrupted.
    pub fn at_door<T>(&self, work: impl FnOnce(&Post<'_>) -> T) -> T {
        self.crew.join(|| self.posts.take(work))
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
    pub fn serve(&self, guest: Guest, scratch: &mut [u8]) {
        let Guest { socket, peer, mut permit, opened } = guest;
        let report = self.converse(&socket, &peer, opened, scratch, |place| permit.hold(Some(place)));
        self.farewell(&peer, report);
        // Its place is free when its descriptor is.
        drop(socket);
    }

    /// As [`Duty::serve`], but leaves to the caller the report, and the place of whom a proxy speaks for.
    pub fn converse(
        &self,
        socket: &Socket,
        peer: &Peer,
        opened: Instant,
        scratch: &mut [u8],
        mut hold: impl FnMut(Place),
    ) -> Report {
        let mut report = Report::new(End::Panicked);
        let connection = self.connection(peer.clone());
        let introduce = |connection: &Connection| {
            self.introduce(connection).map(|place| place.into_iter().for_each(&mut hold))
        };
        let conversation = || {
            let context = self.context();
            blocking::converse(connection, socket, scratch, &context, opened, introduce, &mut report)
        };
        // The scratch buffer and the report hold plain numbers, whatever state the panic left them in.
        let _ = catch_unwind(AssertUnwindSafe(conversation));
        report.lasted = opened.elapsed().saturating_sub(report.lingered);
        report.process = self.process_to_tell(socket, report.end);
        report
    }
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

/// What became of a client that was accepted.
pub enum Admitted {
    /// It is let in.
    Guest(Guest),
    /// It was refused, and is closed.
    Refused,
    /// It was refused and told why: what it sends is to be read until it has ended, or its time is over.
    Lingers(Socket),
}

/// Where guests come in.
pub struct Door<'a> {
    duty: &'a Duty,
    watch: Watch<'a>,
    rest: Rest,
    broken: Option<io::Error>,
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
    pub fn new(
        duty: &'a Duty,
        sockets: &'a [Listener],
        post: &'a Post<'a>,
        by_signals: bool,
    ) -> io::Result<Door<'a>> {
        let polls = by_signals || duty.settings.when_full == WhenFull::Message;
        let watch = Watch::new(sockets.iter().collect(), &duty.gate, post, polls)?;
        Ok(Door { duty, watch, rest: Rest::default(), broken: None })
    }

    /// What broke the listening socket, if it is not just closed; and the refused clients that have not read why yet.
    pub fn end(self) -> (io::Result<()>, LingerList) {
        (self.broken.map_or(Ok(()), Err), self.watch.lingering())
    }

    /// The next guest; waits at the limit, and rests when descriptors run out. `None` when the door is closed.
    pub fn accept(&mut self) -> Option<Guest> {
        let mut permit = if self.duty.lets_wait() { Some(self.duty.gate.enter()?) } else { None };
        loop {
            match self.look(permit, &Patience::default()) {
                (Arrival::Guest(guest), _) => return Some(guest),
                // To stop takes precedence over those who cannot be let in.
                (Arrival::Shortage(time), unused) if self.duty.gate.rest(time) => permit = unused,
                (Arrival::Nobody, unused) => permit = unused,
                _ => return None,
            }
        }
    }

    /// Waits for a client once. A permit that was not used is returned. Without one the client is let in if there is a place
    /// when it comes, and refused otherwise.
    pub fn look(&mut self, permit: Option<Permit>, patience: &Patience) -> (Arrival, Option<Permit>) {
        match self.wait(patience) {
            Ready::Socket(listener) => self.take(listener, permit),
            Ready::Nothing => (Arrival::Nobody, permit),
            Ready::Closed => (Arrival::Closed, permit),
        }
    }

    /// The first half of [`Door::look`]: waits for one of the sockets.
    pub fn wait(&mut self, patience: &Patience) -> Ready<'a> {
        self.watch.wait(patience)
    }

    /// The second half: takes a client that waits there.
    pub fn take(&mut self, listener: &Listener, mut permit: Option<Permit>) -> (Arrival, Option<Permit>) {
        let gate = &self.duty.gate;
        if gate.claim(1) == 0 {
            return (Arrival::Nobody, permit);
        }
        let accepted = self.watch.call(|| listener.accept());
        self.watch.leave();
        let arrival = match self.duty.receive(accepted, &mut permit) {
            Ok(admitted) => {
                self.rest = Rest::default();
                match admitted {
                    Admitted::Guest(guest) => Arrival::Guest(guest),
                    Admitted::Refused => Arrival::Nobody,
                    Admitted::Lingers(socket) => {
                        self.watch.linger(socket);
                        Arrival::Nobody
                    }
                }
            }
            // A socket that was blocking does not block any more: we were asked to stop, and nobody waits.
            Err(Refusal::Nothing) if self.watch.is_asked_to_stop() => Arrival::Closed,
            Err(Refusal::Nothing | Refusal::Again) => Arrival::Nobody,
            Err(Refusal::Exhausted(error)) => {
                Arrival::Shortage(self.duty.exhausted("accept", &error, &mut self.rest))
            }
            // Closed under its feet: another worker has refused who comes from now on.
            Err(Refusal::Broken(_)) if gate.is_closed_for_all() => Arrival::Closed,
            Err(Refusal::Broken(error)) => {
                self.broken = Some(io::Error::other(format!("cannot accept at {}: {error}", listener.url())));
                gate.close();
                Arrival::Closed
            }
        };
        (arrival, permit)
    }
}

pub use crate::serve::shortage::Rest;
pub use crate::serve::startup::Startup;
pub use crate::serve::unread::{Room, Unread};

#[cfg(test)]
mod tests;
