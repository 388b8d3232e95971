//! A forking listener lives in a process of its own that never has a second thread, because fork(2) is sound only
//! there. The daemon starts itself again with [`FLAG`] and hands over descriptors: the settings, the counters, pipes to
//! say that it is ready and to be told to begin, and the listening sockets. This file is the daemon's end, `process` the other one.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::AsFd,
    process::Child,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
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
    access::guard,
    config,
    modes::HAND_OVER,
    report::stats::{Order, Stats},
    serve::backoff::Backoff,
    socket::listener::{Listener, SocketOwner},
    sys::{shared::Shared, spawn::spawn},
};

mod process;
mod ready;

pub use process::main;
use ready::await_ready;

/// The hidden first argument of such a process; the daemon's process id and a list of descriptors follow.
pub const FLAG: &str = "--fork-server";

/// What such a process says: that it is prepared to serve, and that it accepts nobody any more.
const READY: &[u8; 1] = b"R";
const LEFT: &[u8; 1] = b"L";

/// What it is told once it is ready: to begin.
const BEGIN: &[u8; 1] = b"B";

/// What is handed over as text.
#[derive(Serialize, Deserialize)]
struct Orders {
    log: config::Log,
    listener: config::Listener,
    /// Whose each of the sockets is.
    owner: Vec<SocketOwner>,
}

/// The daemon's end: starts the process, and starts it again should it die.
pub struct ForkServer {
    name: String,
    orders: File,
    stats: Arc<Shared<Stats>>,
    sockets: Vec<Listener>,
    process: Option<(Child, Instant)>,
    backoff: Backoff,
    due: Option<Instant>,
    begun: bool,
    stopping: bool,
    cut: bool,
    /// Where it says that it is ready, and that it has left the door.
    said: Option<File>,
    /// Where it is told to begin.
    word: Option<File>,
    requests: u64,
}

impl ForkServer {
    /// Starts the process, which serves once [`ForkServer::begin`] says so. To be called by the main thread, which lives as long as the
    /// daemon does: the kernel kills the process when the thread that started it ends.
    pub fn start(
        log: &config::Log,
        listener: &config::Listener,
        stats: &Arc<Shared<Stats>>,
        sockets: Vec<Listener>,
    ) -> io::Result<ForkServer> {
        let mut orders = File::from(memfd_create(c"echod-orders", MFdFlags::MFD_CLOEXEC)?);
        // Those that event loops had before a reload or a restart are served as well.
        let owner =
            sockets.iter().flat_map(|listener| listener.sockets().map(|_| listener.owner())).collect();
        let text = Orders { log: log.clone(), listener: listener.clone(), owner };
        serde_json::to_writer(&mut orders, &text)?;
        let mut server = ForkServer {
            name: listener.name.clone(),
            orders,
            stats: Arc::clone(stats),
            sockets,
            process: None,
            backoff: Backoff::default(),
            due: None,
            begun: false,
            stopping: false,
            cut: false,
            said: None,
            word: None,
            requests: listener.max_requests,
        };
        server.launch()?;
        Ok(server)
    }

    /// Waits until the process has all that it needs to serve.
    pub fn wait(&mut self) -> io::Result<()> {
        let Some(said) = &mut self.said else { return Ok(()) };
        await_ready(said)
    }

    /// Lets the process serve.
    pub fn begin(&mut self) {
        self.begun = true;
        self.say_begin();
    }

    fn say_begin(&mut self) {
        // If it has died there is nobody to tell, and another one is started.
        self.word.take().into_iter().for_each(|mut word| _ = word.write_all(BEGIN));
    }

    /// Ends a process that was not told to begin.
    pub fn give_up(&mut self) {
        self.cut();
        if let Some((mut process, _)) = self.process.take() {
            let _ = process.wait();
        }
    }

    /// Tells the process to answer what has arrived, and to end. What waits at its sockets is `left` to those who have them next.
    pub fn stop(&mut self, left: bool) {
        if left {
            self.order(Order::HandOver);
        }
        self.stopping = true;
        self.due = None;
        self.sockets.clear();
        self.order(Order::Stop);
    }

    /// Tells the process that its sockets are another generation's: it accepts nobody any more, and ends with its last client.
    pub fn hand_over(&mut self) {
        self.stopping = true;
        self.due = None;
        self.sockets.clear();
        self.order(Order::HandOver);
    }

    /// The signal alone is no order: anybody may send one.
    fn order(&self, order: Order) {
        self.stats.order(order);
        self.signal(match order {
            Order::Stop => Signal::SIGTERM,
            Order::HandOver => HAND_OVER,
        });
    }

    /// Waits until nobody accepts there any more; false if that takes until after `end`.
    pub fn has_left(&mut self, end: Instant) -> bool {
        let Some(said) = self.said.as_mut().filter(|_| self.process.is_some()) else { return true };
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let mut polled = [PollFd::new(said.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
            // Perhaps it says first that it was started again and is ready. Its end says that it has left, too.
            let mut word = [0];
            match said.read(&mut word) {
                Ok(0) => return true,
                Ok(_) if word == *LEFT => return true,
                _ => {}
            }
        }
    }

    /// The sockets, for another generation.
    pub fn sockets(&self) -> &[Listener] {
        &self.sockets
    }

    /// Closes the sockets: nobody is to wait in them.
    pub fn close(&mut self) {
        self.sockets.clear();
    }

    /// Ends the process and all its children at once.
    pub fn cut(&mut self) {
        self.cut = true;
        self.signal(Signal::SIGKILL);
    }

    /// Looks after the process: to be called when a child has ended, and at [`ForkServer::due`]. True once it has ended
    /// for good.
    pub fn reap_and_restart(&mut self) -> bool {
        if let Some((process, since)) = &mut self.process
            && let Ok(Some(status)) = process.try_wait()
        {
            let age = since.elapsed();
            self.process = None;
            let name = &self.name;
            if self.stopping && !self.cut && !status.success() {
                warn!("listener \"{name}\": its process was lost ({status}), and its connections with it");
                self.died();
            }
            if self.stopping || (status.success() && self.is_exhausted()) {
                return true;
            }
            let wait = self.backoff.after(age);
            warn!(
                "listener \"{name}\": its process was lost ({status}), and its connections with it; another one starts in {wait:?}"
            );
            self.died();
            self.due = Some(Instant::now() + wait);
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            if let Err(error) = self.launch() {
                let wait = self.backoff.after(Duration::ZERO);
                error!(
                    "listener \"{}\": cannot start its process: {error}; next attempt in {wait:?}",
                    self.name
                );
                self.due = Some(Instant::now() + wait);
            }
        }
        self.stopping && self.process.is_none()
    }

    /// Whether its success is the end of `max-requests`.
    fn is_exhausted(&self) -> bool {
        self.requests > 0 && self.stats.taken.load(Relaxed) >= self.requests
    }

    /// When the process is to be started again.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What was open has died with it.
    fn died(&self) {
        self.stats.open.store(0, Relaxed);
        self.stats.died.fetch_add(1, Relaxed);
    }

    fn launch(&mut self) -> io::Result<()> {
        self.orders.rewind()?;
        let ((said, say), (told, tell)) = (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
        let mut handed = vec![
            self.orders.as_fd(),
            self.stats.as_fd(),
            say.as_fd(),
            told.as_fd(),
            guard::own_ports()?.as_fd(),
        ];
        handed.extend(self.sockets.iter().flat_map(Listener::sockets).map(AsFd::as_fd));
        self.process = Some((spawn(FLAG, &handed)?, Instant::now()));
        (self.said, self.word) = (Some(said.into()), Some(tell.into()));
        if self.begun {
            self.say_begin();
        }
        Ok(())
    }

    /// The process, while there is one.
    pub fn process(&self) -> Option<Pid> {
        self.process.as_ref().map(|(process, _)| Pid::from_raw(process.id().cast_signed()))
    }

    /// Asks the process for a sign of life.
    pub fn ask(&self) {
        self.stats.pings.fetch_add(1, Relaxed);
        self.signal(Signal::SIGWINCH);
    }

    /// Whether it has answered, or there is none at the moment: it is started again by itself.
    pub fn has_answered(&self) -> bool {
        let acknowledged = self.stats.acknowledged.load(Relaxed) == self.stats.pings.load(Relaxed);
        acknowledged || self.process.is_none()
    }

    fn signal(&self, signal: Signal) {
        if let Some((process, _)) = &self.process {
            let _ = kill(Pid::from_raw(process.id() as i32), signal);
        }
    }
}
