//! The daemon's end of the process of a forking listener. fork(2) is safe only in a process that never has a second thread,
//! so the daemon executes itself again with [`FLAG`] and passes descriptors: the settings, the counters, a pipe for the
//! status, a pipe for the command to begin, the table of own ports, and the listening sockets. `process` is the other end.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::Child,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use log::{error, warn};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{Signal, kill},
    },
    unistd::{Pid, pipe2},
};
use serde::{Deserialize, Serialize};

use crate::{
    access::{checks::Access, guard},
    config,
    modes::HAND_OVER,
    report::{
        close_reason::CloseKind,
        log_event::{LogEvent, millis},
        stats::{Order, Stats},
    },
    serve::backoff::Backoff,
    socket::listener::{Listener, SocketOwner},
    sys::{shared::Shared, spawn::spawn},
};

mod process;
mod ready;

pub use process::main;
use ready::await_ready;

/// Hidden first argument of such a process; the daemon's process id and the list of descriptors follow.
pub const FLAG: &str = "--fork-server";

/// Status of the process: prepared to serve; no longer accepting.
const READY: &[u8; 1] = b"R";
const LEFT: &[u8; 1] = b"L";

/// Command of the daemon to a process that is ready: begin.
const BEGIN: &[u8; 1] = b"B";

/// Settings, passed as JSON.
#[derive(Serialize, Deserialize)]
struct ServerSettings {
    log: config::Log,
    listener: config::Listener,
    /// Owner of each socket.
    owner: Vec<SocketOwner>,
}

/// The daemon's end: starts the process, and restarts it when it dies.
pub struct ForkServer {
    name: String,
    orders: File,
    stats: Arc<Shared<Stats>>,
    /// The tables that the process counts its clients in.
    access: Access,
    sockets: Vec<Listener>,
    process: Option<(Child, Instant)>,
    backoff: Backoff,
    due: Option<Instant>,
    begun: bool,
    stopping: bool,
    cut: bool,
    /// Read end of the status pipe.
    status: Option<File>,
    /// Write end of the pipe for the command to begin.
    command: Option<File>,
    requests: u64,
}

impl ForkServer {
    /// Starts the process, which serves once [`ForkServer::begin`] was called. Only for the main thread: the kernel kills the
    /// process when the thread that started it ends (PR_SET_PDEATHSIG).
    pub fn start(
        log: &config::Log,
        listener: &config::Listener,
        stats: &Arc<Shared<Stats>>,
        sockets: Vec<Listener>,
    ) -> io::Result<ForkServer> {
        let mut orders = File::from(memfd_create(c"echod-orders", MFdFlags::MFD_CLOEXEC)?);
        // SO_REUSEPORT siblings of earlier event loops, before a reload or a restart, are served as well.
        let owner =
            sockets.iter().flat_map(|listener| listener.sockets().map(|_| listener.owner())).collect();
        let mut settings = listener.clone();
        // The process would draw a seed of its own, and so would its successor.
        settings.faults = settings.faults.map(|plan| Arc::new(plan.with_seed()));
        let text = ServerSettings { log: log.clone(), listener: settings, owner };
        serde_json::to_writer(&mut orders, &text)?;
        let mut server = ForkServer {
            name: listener.name.clone(),
            orders,
            stats: Arc::clone(stats),
            access: Access::of(listener, stats)?,
            sockets,
            process: None,
            backoff: Backoff::of_process(),
            due: None,
            begun: false,
            stopping: false,
            cut: false,
            status: None,
            command: None,
            requests: listener.max_requests,
        };
        server.launch()?;
        Ok(server)
    }

    /// Waits until the process is prepared to serve.
    pub fn wait(&mut self) -> io::Result<()> {
        let Some(status) = &mut self.status else { return Ok(()) };
        await_ready(status)
    }

    /// Tells the process to serve.
    pub fn begin(&mut self) {
        self.begun = true;
        self.send_begin();
    }

    fn send_begin(&mut self) {
        // If the process has died, the write fails, and another one is started.
        self.command.take().into_iter().for_each(|mut command| _ = command.write_all(BEGIN));
    }

    /// Kills a process that was not told to begin.
    pub fn give_up(&mut self) {
        self.cut();
        if let Some((mut process, _)) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// Tells the process to answer what has arrived, and to end. With `left`, the backlog is left to the process that has the
    /// sockets next.
    pub fn stop(&mut self, left: bool) {
        if left {
            self.order(Order::HandOver);
        }
        self.stopping = true;
        self.due = None;
        self.sockets.clear();
        self.order(Order::Stop);
    }

    /// Tells the process that another generation has its sockets: it accepts no more, and ends with its last connection.
    pub fn hand_over(&mut self) {
        self.stopping = true;
        self.due = None;
        self.sockets.clear();
        self.order(Order::HandOver);
    }

    /// Stores the order in shared memory, then sends the signal. A signal alone may come from any process.
    fn order(&self, order: Order) {
        self.stats.order(order);
        self.signal(match order {
            Order::Stop => Signal::SIGTERM,
            Order::HandOver => HAND_OVER,
        });
    }

    /// Waits until the process accepts no more; false if that takes until after `end`.
    pub fn has_left(&mut self, end: Instant) -> bool {
        let Some(status) = self.status.as_mut().filter(|_| self.process.is_some()) else { return true };
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let mut polled = [PollFd::new(status.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
            // READY of a restarted process may come first. End of file means that it has ended, so it accepts no more.
            let mut report = [0];
            match status.read(&mut report) {
                Ok(0) => return true,
                Ok(_) if report == *LEFT => return true,
                _ => {}
            }
        }
    }

    /// The sockets, for another generation.
    pub fn sockets(&self) -> &[Listener] {
        &self.sockets
    }

    /// Closes the daemon's copies, so that no client waits in their backlog.
    pub fn close(&mut self) {
        self.sockets.clear();
    }

    /// Kills the process; all its children die with it.
    pub fn cut(&mut self) {
        self.cut = true;
        self.signal(Signal::SIGKILL);
    }

    /// Reaps the process, and restarts it when due. To be called when a child has ended, and at [`ForkServer::due`]. True
    /// once it has ended for good.
    pub fn reap_and_restart(&mut self) -> bool {
        if let Some((process, since)) = &mut self.process
            && let Ok(Some(status)) = process.try_wait()
        {
            let age = since.elapsed();
            self.process = None;
            let name = self.name.as_str();
            if self.stopping && !self.cut && !status.success() {
                warn!(
                    event = LogEvent::ProcessLost, listener = name, status:% = status;
                    "listener \"{name}\": its process was lost ({status}), and its connections with it"
                );
                self.stats.died.fetch_add(1, Relaxed);
            }
            // Its connections died with it.
            let end = match status.signal() {
                _ if self.cut => CloseKind::DrainTimeout,
                Some(_) => CloseKind::Killed,
                None => CloseKind::ChildExited,
            };
            self.stats.lost(end, self.stats.open.swap(0, Relaxed).into());
            if self.stopping || (status.success() && self.is_exhausted()) {
                return true;
            }
            let wait = self.backoff.wait_after(age);
            warn!(
                event = LogEvent::ProcessLost, listener = name, status:% = status, retry_ms = millis(wait);
                "listener \"{name}\": its process was lost ({status}), and its connections with it; another one starts in {wait:?}"
            );
            self.stats.died.fetch_add(1, Relaxed);
            self.due = Some(Instant::now() + wait);
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            // A source is not forgiven because a process has died.
            self.access.release_all_sources();
            if let Err(error) = self.launch() {
                let wait = self.backoff.wait();
                let name = self.name.as_str();
                error!(
                    event = LogEvent::ProcessFailed, listener = name, error:% = error,
                    retry_ms = millis(wait);
                    "listener \"{name}\": cannot start its process: {error}; next attempt in {wait:?}"
                );
                self.due = Some(Instant::now() + wait);
            }
        }
        self.stopping && self.process.is_none()
    }

    /// Whether it exited because `max-requests` were served.
    fn is_exhausted(&self) -> bool {
        self.requests > 0 && self.stats.taken.load(Relaxed) >= self.requests
    }

    /// When the process is to be restarted.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn launch(&mut self) -> io::Result<()> {
        self.orders.rewind()?;
        let ((status, status_inherited), (command_inherited, command)) =
            (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
        let mut handed = vec![
            self.orders.as_fd(),
            self.stats.as_fd(),
            status_inherited.as_fd(),
            command_inherited.as_fd(),
            guard::own_ports()?.as_fd(),
        ];
        handed.extend(self.sockets.iter().flat_map(Listener::sockets).map(AsFd::as_fd));
        self.process = Some((spawn(FLAG, &handed)?, Instant::now()));
        (self.status, self.command) = (Some(status.into()), Some(command.into()));
        if self.begun {
            self.send_begin();
        }
        Ok(())
    }

    /// The tables that the process counts its clients in.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The process, while there is one.
    pub fn process(&self) -> Option<Pid> {
        self.process.as_ref().map(|(process, _)| Pid::from_raw(process.id().cast_signed()))
    }

    /// Pings the process.
    pub fn ping(&self) {
        self.stats.pings.fetch_add(1, Relaxed);
        self.signal(Signal::SIGWINCH);
    }

    /// Whether it has acknowledged the last ping, or is being restarted.
    pub fn has_acknowledged(&self) -> bool {
        let acknowledged = self.stats.acknowledged.load(Relaxed) == self.stats.pings.load(Relaxed);
        acknowledged || self.process.is_none()
    }

    fn signal(&self, signal: Signal) {
        if let Some((process, _)) = &self.process {
            let _ = kill(Pid::from_raw(process.id() as i32), signal);
        }
    }
}
