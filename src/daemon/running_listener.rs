//! A listener that is being served, by threads of this process or by a process of its own, as the supervisor sees it.

use std::{
    cell::Cell,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    access::checks::Access,
    config::{self, Mode, Protocol},
    daemon::fork_server::ForkServer,
    offload::Slot,
    report::{close_reason::CloseKind, stats::Stats},
    serve::context::ListenerContext,
    socket::{
        address::Peer,
        fd_store::FdName,
        listener::{Listener, SocketOwner},
        socket_file::{FileId, SocketFile},
    },
    sys::{shared::Shared, socket_drops},
};

mod checks;
mod handover;
mod kernel;
mod last_clients;
mod start;

pub use handover::Handover;
use last_clients::LastClients;

/// Stack of a thread that accepts or serves datagrams, in bytes; only touched pages take memory.
const STACK: usize = 256 << 10;

/// A running listener.
pub struct RunningListener {
    number: usize,
    settings: config::Listener,
    log: config::Log,
    stats: Arc<Shared<Stats>>,
    files: Vec<SocketFile>,
    how: How,
    ended: bool,
    /// Whether a failure ended it.
    failed: bool,
    superseded: bool,
    /// Whether its sockets are left to another process at the stop.
    leaves: bool,
    /// When its process is killed, if it has not ended by then.
    cut: Option<Instant>,
    /// Set while it serves the last clients of an address.
    last: Option<LastClients>,
    /// How many datagrams the kernel had dropped at its sockets when that was last read.
    drops: Cell<u32>,
    /// While the kernel echoes for it.
    kernel: Option<Slot>,
}

enum How {
    /// The sockets are clones, for the next generation.
    Threads(Arc<ListenerContext>, Vec<Listener>, JoinHandle<()>),
    Process(ForkServer),
}

impl RunningListener {
    /// Stops: accepts no new clients, and answers what has arrived. The backlog is served too, unless `handover` leaves the
    /// sockets to another process.
    pub fn stop(&mut self, handover: Handover) {
        let is_left = |socket: &Listener| match socket.owner() {
            SocketOwner::Own => false,
            SocketOwner::Stored => handover == Handover::NextDaemon,
            SocketOwner::Activated => handover != Handover::None,
        };
        self.leave_kernel();
        self.last = None;
        self.leaves = !self.superseded && self.sockets().iter().all(is_left);
        if !self.leaves {
            // First, so that clients no longer find a socket that is about to close.
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

    /// Leaves the sockets to another generation: existing connections are served on, no new ones are accepted.
    pub fn hand_over(&mut self) {
        self.leave_kernel();
        self.superseded = true;
        self.count_undelivered();
        match &mut self.how {
            How::Threads(context, kept, _) => {
                kept.clear();
                context.slots.hand_over();
            }
            How::Process(server) => server.hand_over(),
        }
    }

    /// Waits until no worker accepts any more; false if that takes until after `end`.
    pub fn has_left(&mut self, end: Instant) -> bool {
        let context = match &mut self.how {
            How::Process(server) => return server.has_left(end),
            How::Threads(context, ..) => context,
        };
        while !context.workers.none_waits() {
            if self.ended || Instant::now() > end {
                return self.ended;
            }
            // A wake-up just before the worker blocks is lost; the next one reaches it.
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Stops a listener that is no longer configured. Connections that are left after `patience` are cut.
    pub fn retire(&mut self, patience: Duration) {
        self.leave_kernel();
        self.superseded = true;
        let end = Instant::now() + patience;
        match &self.how {
            How::Threads(context, ..) => _ = context.cut.set(end),
            How::Process(_) => self.cut = Some(end),
        }
        // Keep new clients away, so that the backlog can be served to its end.
        self.sockets().iter().for_each(Listener::keep_clients_away);
        self.stop(Handover::None);
    }

    /// Number of connections that were cut.
    pub fn count_cut(&self) -> u64 {
        self.stats.ended_by(CloseKind::DrainTimeout)
    }

    /// Whether another generation has replaced it, or it was removed from the configuration.
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

    /// Hands over the file of its socket at `path` to another generation.
    pub fn take_file(&mut self, path: &Path) -> Option<SocketFile> {
        let found = self.files.iter().position(|file| file.is_at(path))?;
        Some(self.files.swap_remove(found))
    }

    /// Identity of the file of its socket at `path`.
    pub fn file(&self, path: &Path) -> Option<FileId> {
        self.files.iter().find(|file| file.is_at(path)).map(SocketFile::id)
    }

    /// Removes the files of its sockets.
    pub fn remove_files(&mut self) {
        self.leave_files(false);
        self.files.clear();
    }

    /// Whether to keep socket files on disk at exit, for a restart that inherits the sockets.
    pub fn leave_files(&mut self, stay: bool) {
        self.files.iter_mut().for_each(|file| file.stay(stay));
    }

    /// Sockets for the service manager's fd store, each under the name by which the next daemon finds it.
    pub fn sockets_to_store(&self) -> impl Iterator<Item = (FdName, &Socket)> {
        let is_served = !self.ended && !self.superseded;
        let kept =
            self.sockets().iter().filter(move |socket| is_served && socket.owner() == SocketOwner::Stored);
        kept.flat_map(move |listener| {
            let file = match listener.address() {
                Peer::Path(path) => self.file(path),
                _ => None,
            };
            let named = move |socket| Some((FdName::new(socket, file, self.name()).ok()?, socket));
            listener.sockets().filter_map(named)
        })
    }

    /// Whether it serves by these settings. A process of its own also holds the log settings, and is replaced so that it
    /// reopens a log file.
    pub fn is_as(&self, settings: &config::Listener, log: &config::Log) -> bool {
        let logs_as = || self.log == *log && log.target != config::LogTarget::File;
        self.settings == *settings && (self.settings.mode != Mode::Forking || logs_as())
    }

    /// Its settings.
    pub fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// Its number in [`SupervisorEvent`](crate::daemon::event::SupervisorEvent)s.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Kills its process at once. Threads end with the daemon.
    pub fn cut(&mut self) {
        if let How::Process(server) = &mut self.how {
            server.cut();
        }
    }

    /// Reaps and restarts the process of a forking listener, and checks for last clients.
    pub fn reap_and_restart(&mut self) {
        self.check_last_clients();
        let How::Process(server) = &mut self.how else { return };
        if server.reap_and_restart() {
            self.end();
        } else if self.cut.is_some_and(|end| end <= Instant::now()) {
            self.cut = None;
            server.cut();
        }
    }

    /// When [`RunningListener::reap_and_restart`] is due.
    pub fn due(&self) -> Option<Instant> {
        let last = self.last.as_ref().map(LastClients::due);
        match &self.how {
            How::Process(server) => server.due().into_iter().chain(self.cut).chain(last).min(),
            How::Threads(..) => last,
        }
    }

    /// Pings its workers.
    pub fn ping(&self) {
        match &self.how {
            How::Threads(context, ..) => context.workers.ping(),
            How::Process(server) => server.ping(),
        }
    }

    /// Whether all workers have acknowledged the last ping.
    pub fn has_acknowledged(&self) -> bool {
        self.ended
            || match &self.how {
                How::Threads(context, ..) => context.workers.have_acknowledged(),
                How::Process(server) => server.has_acknowledged(),
            }
    }

    /// Marks it as ended.
    pub fn end(&mut self) {
        self.leave_kernel();
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

    /// Marks it as ended by a failure.
    pub fn fail(&mut self) {
        self.failed = true;
        self.end();
    }

    /// Whether a failure ended it.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Its name in the configuration and the log.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Counts what the kernel has counted since the last call: datagrams that it has dropped before they could be received, and
    /// those that it has answered itself. Reading on demand suffices.
    pub fn count_undelivered(&self) {
        self.count_offloaded();
        let before = self.drops.get();
        self.skip_undelivered();
        // The kernel's counter is no longer than this, and may have wrapped.
        let more = self.drops.get().wrapping_sub(before);
        self.stats.undelivered.fetch_add(more.into(), Relaxed);
    }

    /// Counts only datagrams that the kernel drops from now on. A socket may have had another listener before, or another daemon.
    pub fn skip_undelivered(&self) {
        if self.settings.protocol == Protocol::Udp && !self.sockets().is_empty() {
            let drops = self.sockets().iter().flat_map(Listener::sockets);
            let drops = drops.map(|socket| socket_drops::drops(socket).unwrap_or(0));
            self.drops.set(drops.fold(0, u32::wrapping_add));
        }
    }

    /// Its counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What clients are checked against: the tables are those of its workers.
    pub fn access(&self) -> &Access {
        match &self.how {
            How::Threads(context, ..) => &context.access,
            How::Process(server) => server.access(),
        }
    }

    /// Number of open connections.
    pub fn open(&self) -> u32 {
        self.stats.open.load(Relaxed)
    }
}
