//! A listener that is being served: by threads of this process, or by a process of its own.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    config::{self, Mode, Protocol},
    daemon::fork_server::ForkServer,
    report::stats::Stats,
    serve::context::ListenerContext,
    socket::{
        address::Peer,
        fd_store::FdName,
        listener::{Listener, SocketOwner},
        socket_file::{FileId, SocketFile},
    },
    sys::{shared::Shared, socket_filter},
};

mod handover;
mod last_clients;
mod look;
mod start;

pub use handover::Handover;
use last_clients::LastClients;

/// Stack of a thread that accepts or serves datagrams, in bytes; only what is touched takes memory.
const STACK: usize = 256 << 10;

/// One listener in service.
pub struct RunningListener {
    number: usize,
    settings: config::Listener,
    log: config::Log,
    stats: Arc<Shared<Stats>>,
    files: Vec<SocketFile>,
    how: How,
    ended: bool,
    /// Whether it has ended because of a failure.
    failed: bool,
    superseded: bool,
    /// Whether its sockets are kept for others while it stops.
    leaves: bool,
    /// When its process is killed, if it has not ended by then.
    cut: Option<Instant>,
    /// Of one that serves the last clients of an address.
    last: Option<LastClients>,
}

enum How {
    /// The sockets once more are for another generation.
    Threads(Arc<ListenerContext>, Vec<Listener>, JoinHandle<()>),
    Process(ForkServer),
}

impl RunningListener {
    /// Stops: no new clients, what has arrived is answered. What waits at its sockets is answered, too, or left to an heir.
    pub fn stop(&mut self, handover: Handover) {
        let is_left = |socket: &Listener| match socket.owner() {
            SocketOwner::Own => false,
            SocketOwner::Stored => handover == Handover::NextDaemon,
            SocketOwner::Activated => handover != Handover::None,
        };
        self.last = None;
        self.leaves = !self.superseded && self.sockets().iter().all(is_left);
        if !self.leaves {
            // First of all nobody is to find it any more.
            self.remove_files();
        }
        self.count_undelivered();
        match &mut self.how {
            How::Threads(context, kept, _) => {
                kept.clear();
                if self.leaves {
                    context.slots.hand_over();
                }
                context.stop();
            }
            How::Process(server) => server.stop(self.leaves),
        }
    }

    /// Leaves the sockets to another generation: whoever is served is served on, nobody new is accepted.
    pub fn hand_over(&mut self) {
        self.superseded = true;
        match &mut self.how {
            How::Threads(context, kept, _) => {
                kept.clear();
                context.slots.hand_over();
            }
            How::Process(server) => server.hand_over(),
        }
    }

    /// Waits until nobody accepts here any more; false if that takes until after `end`.
    pub fn has_left(&mut self, end: Instant) -> bool {
        let context = match &mut self.how {
            How::Process(server) => return server.has_left(end),
            How::Threads(context, ..) => context,
        };
        while !context.worker_states.none_waits() {
            if self.ended || Instant::now() > end {
                return self.ended;
            }
            // A nudge may come a moment too early; then there is another one.
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Stops it, once, because nobody asks for it any more. Whoever is still there after `patience` is cut.
    pub fn retire(&mut self, patience: Duration) {
        self.superseded = true;
        let end = Instant::now() + patience;
        match &self.how {
            How::Threads(context, ..) => _ = context.cut.set(end),
            How::Process(_) => self.cut = Some(end),
        }
        // Then who is here can be served to the last of them.
        self.sockets().iter().for_each(Listener::keep_clients_away);
        self.stop(Handover::None);
    }

    /// How many of its connections were cut.
    pub fn count_cut(&self) -> u64 {
        self.stats.cut.load(Relaxed)
    }

    /// Whether another generation has taken its place, or it was removed from the configuration.
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// Its sockets, for another generation.
    pub fn sockets(&self) -> &[Listener] {
        match &self.how {
            How::Threads(_, kept, _) => kept,
            How::Process(server) => server.sockets(),
        }
    }

    /// The file of its socket at `path`, for another generation.
    pub fn take_file(&mut self, path: &Path) -> Option<SocketFile> {
        let found = self.files.iter().position(|file| file.is_at(path))?;
        Some(self.files.swap_remove(found))
    }

    /// Which file its socket at `path` has.
    pub fn file(&self, path: &Path) -> Option<FileId> {
        self.files.iter().find(|file| file.is_at(path)).map(SocketFile::id)
    }

    /// Removes the files of its sockets.
    pub fn remove_files(&mut self) {
        self.leave_files(false);
        self.files.clear();
    }

    /// Says whether the files of its sockets stay when this daemon ends.
    pub fn leave_files(&mut self, stay: bool) {
        self.files.iter_mut().for_each(|file| file.stay(stay));
    }

    /// What the service manager is to keep over a restart: each with the name that the next daemon knows it by.
    pub fn sockets_to_store(&self) -> impl Iterator<Item = (FdName, &Socket)> {
        let is_served = !self.ended && !self.superseded;
        let kept =
            self.sockets().iter().filter(move |socket| is_served && socket.owner() == SocketOwner::Stored);
        kept.flat_map(move |listener| {
            let file = match listener.address() {
                Peer::Path(path) => self.file(path),
                _ => None,
            };
            let label = move |socket| Some((FdName::new(socket, file, self.name()).ok()?, socket));
            listener.sockets().filter_map(label)
        })
    }

    /// Whether it serves as these settings say. (A process of its own also logs as it was told: it is replaced
    /// where a log file is to be opened again.)
    pub fn is_as(&self, settings: &config::Listener, log: &config::Log) -> bool {
        let logs_as = || self.log == *log && log.target != config::LogTarget::File;
        self.settings == *settings && (self.settings.mode != Mode::Forking || logs_as())
    }

    /// What the configuration says of it.
    pub fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// The number by which it is told of.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Ends everything at once. Threads end with the daemon.
    pub fn cut(&mut self) {
        if let How::Process(server) = &mut self.how {
            server.cut();
        }
    }

    /// Looks after the process of a forking listener.
    pub fn reap_and_restart(&mut self) {
        self.look_for_last_clients();
        let How::Process(server) = &mut self.how else { return };
        if server.reap_and_restart() {
            self.end();
        } else if self.cut.is_some_and(|end| end <= Instant::now()) {
            self.cut = None;
            server.cut();
            self.stats.cut.fetch_add(u64::from(self.stats.open.load(Relaxed)), Relaxed);
        }
    }

    /// When it wants to be tended next.
    pub fn due(&self) -> Option<Instant> {
        let last = self.last.as_ref().map(LastClients::due);
        match &self.how {
            How::Process(server) => server.due().into_iter().chain(self.cut).chain(last).min(),
            How::Threads(..) => last,
        }
    }

    /// Asks those who serve it for a sign of life.
    pub fn ask(&self) {
        match &self.how {
            How::Threads(context, ..) => context.worker_states.ping(),
            How::Process(server) => server.ask(),
        }
    }

    /// Whether they have given it.
    pub fn has_answered(&self) -> bool {
        self.ended
            || match &self.how {
                How::Threads(context, ..) => context.worker_states.have_acknowledged(),
                How::Process(server) => server.has_answered(),
            }
    }

    /// Marks it as ended.
    pub fn end(&mut self) {
        self.ended = true;
        self.last = None;
        if !self.leaves {
            self.remove_files();
        }
        self.count_undelivered();
        match &mut self.how {
            How::Threads(_, kept, _) => kept.clear(),
            How::Process(server) => server.close(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Notes that a failure has ended it.
    pub fn fail(&mut self) {
        self.failed = true;
        self.end();
    }

    /// Whether a failure has ended it.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Asks the kernel how many datagrams it dropped before they could be received. It counts them itself, so asking when somebody
    /// wants to know is enough.
    pub fn count_undelivered(&self) {
        let sockets = match &self.how {
            How::Threads(_, kept, _) => kept,
            How::Process(server) => server.sockets(),
        };
        if self.settings.protocol == Protocol::Udp && !sockets.is_empty() {
            let drops = sockets.iter().flat_map(Listener::sockets);
            let drops = drops.map(|socket| u64::from(socket_filter::drops(socket).unwrap_or(0)));
            self.stats.undelivered.store(drops.sum(), Relaxed);
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections that are open.
    pub fn open(&self) -> u32 {
        self.stats.open.load(Relaxed)
    }
}
