//! What the main thread does while others serve: waits for signals and for listeners that end. It sleeps until one
//! comes, unless something is due: a process to be started again, the end of a drain, a look at whether all is idle.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use log::{error, info, warn};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGQUIT, SIGUSR1};

use crate::{
    command::cli::Cli,
    config::Config,
    daemon::{
        event::SupervisorEvent,
        parked::Parked,
        running_listener::{Handover, RunningListener},
    },
    process::{notify::Manager, sandbox::Sandbox},
    report::{
        error::{Exit, Failure},
        logging,
    },
    socket::fd_store::FdStore,
};

mod orphans;
mod reload;
mod watchdog;
mod words;

use reload::ConfigRead;
use watchdog::Watchdog;
use words::{connections, name_of};

/// How often the service manager is told of a drain.
const TOLD: Duration = Duration::from_secs(1);

/// How much longer than the drain the service manager is to wait for the end of the process.
const MARGIN: Duration = Duration::from_secs(2);

/// The supervisor of all listeners.
pub struct Supervisor<'a> {
    cli: &'a Cli,
    config: Config,
    sandbox: Sandbox,
    running_listeners: Vec<RunningListener>,
    /// Passed sockets that no listener wants at the moment.
    parked: Parked,
    /// That of the station that was started last.
    number: usize,
    events: Sender<SupervisorEvent>,
    inbox: Receiver<SupervisorEvent>,
    /// When a drain that has begun is over.
    deadline: Option<Instant>,
    /// Whether a signal said so.
    told: bool,
    failure: Option<Failure>,
    idle: Idle,
    manager: Rc<Manager>,
    /// What of our sockets the service manager keeps.
    store: FdStore,
    watchdog: Option<Watchdog>,
    /// When the service manager is told again of a drain.
    tell: Option<Instant>,
    reading: Arc<ConfigRead>,
    /// Whether a reload waits for its configuration.
    is_reading: bool,
}

/// Since when nothing has happened.
struct Idle {
    activity: u64,
    since: Instant,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of `running_listeners`, which are told of in `inbox`.
    pub fn new(
        cli: &'a Cli,
        config: Config,
        sandbox: Sandbox,
        (running_listeners, parked): (Vec<RunningListener>, Parked),
        number: usize,
        (events, inbox): (Sender<SupervisorEvent>, Receiver<SupervisorEvent>),
        (manager, store): (Rc<Manager>, FdStore),
    ) -> Supervisor<'a> {
        let idle = Idle { activity: 0, since: Instant::now() };
        let watchdog = manager.watchdog().map(Watchdog::new);
        let (deadline, tell) = (None, None);
        Supervisor {
            cli,
            config,
            sandbox,
            running_listeners,
            parked,
            number,
            events,
            inbox,
            deadline,
            told: false,
            failure: None,
            idle,
            manager,
            store,
            watchdog,
            tell,
            reading: Arc::default(),
            is_reading: false,
        }
    }

    /// Waits until all listeners have ended, or the time to drain is over.
    pub fn run(mut self) -> Result<(), Failure> {
        self.keep_sockets();
        self.manager.ready(format_args!("{}", self.state()));
        loop {
            if self.running_listeners.iter().all(RunningListener::has_ended) {
                info!("all listeners have ended");
                break;
            }
            match self.next_event() {
                Some(SupervisorEvent::Signal(SIGCHLD)) => {
                    self.reap_and_restart();
                    orphans::reap(|child| self.running_listeners.iter().any(|s| s.process() == Some(child)));
                }
                Some(SupervisorEvent::Signal(SIGUSR1)) => self.report(),
                Some(SupervisorEvent::Signal(SIGHUP)) => self.reload(),
                Some(SupervisorEvent::Signal(SIGQUIT)) => {
                    self.cut("told to end at once");
                    break;
                }
                Some(SupervisorEvent::Signal(signal)) if self.told => {
                    self.cut(&format!("told again to stop ({})", name_of(signal)));
                    break;
                }
                Some(SupervisorEvent::Signal(signal)) => {
                    self.told = true;
                    self.drain(&format!("told to stop ({})", name_of(signal)), Handover::NextDaemon);
                }
                Some(SupervisorEvent::Read(number, read)) => self.go_on(number, *read),
                Some(SupervisorEvent::Ended(number, ended)) => self.ended(number, ended),
                // From now on it is looked at when it is due.
                Some(SupervisorEvent::LogBehind) => {}
                None if self.deadline.is_some_and(|end| end <= Instant::now()) => {
                    self.cut("drain-timeout is over");
                    break;
                }
                None => {
                    self.reap_and_restart();
                    self.look_for_idleness();
                }
            }
            self.keep_in_touch();
            logging::catch_up();
        }
        if self.deadline.is_none() {
            self.manager.stopping(MARGIN, format_args!("all listeners have ended"));
            // Nobody has asked for that.
            return self.failure.map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn next_event(&self) -> Option<SupervisorEvent> {
        let due = self.running_listeners.iter().filter_map(RunningListener::due).chain(self.deadline).min();
        let look = self.config.daemon.exit_idle_time.map(|time| Instant::now() + time_to_look(time));
        let touch =
            self.watchdog.as_ref().map(Watchdog::due).into_iter().chain(self.tell).chain(logging::due());
        match due.into_iter().chain(look).chain(touch).min() {
            None => self.inbox.recv().ok(),
            Some(due) => self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())).ok(),
        }
    }

    fn reap_and_restart(&mut self) {
        let serving = self.serving();
        self.running_listeners
            .iter_mut()
            .filter(|s| !s.has_ended())
            .for_each(RunningListener::reap_and_restart);
        if self.serving() < serving {
            self.keep_sockets();
        }
        self.forget();
    }

    /// Forgets the stations of earlier generations that have ended.
    fn forget(&mut self) {
        let over = |running: &&RunningListener| {
            running.has_ended() && running.is_superseded() && running.count_cut() > 0
        };
        for running in self.running_listeners.iter().filter(over) {
            let (name, cut) = (running.name(), running.count_cut());
            let were = if cut == 1 { "was" } else { "were" };
            let cut = connections(u32::try_from(cut).unwrap_or(u32::MAX));
            warn!(listener = name; "listener \"{name}\": drain-timeout is over: {cut} {were} cut");
        }
        self.running_listeners.retain(|running| !(running.has_ended() && running.is_superseded()));
    }

    /// Brings what the service manager keeps up to date. Once we stop it keeps what it has, for the next daemon.
    fn keep_sockets(&mut self) {
        if self.deadline.is_some() {
            return;
        }
        self.store.settle(self.running_listeners.iter().flat_map(RunningListener::sockets_to_store));
        let kept = |running: &RunningListener| running.sockets_to_store().next().is_some();
        self.running_listeners.iter_mut().for_each(|running| running.leave_files(kept(running)));
    }

    fn drain(&mut self, why: &str, handover: Handover) {
        if self.deadline.is_some() {
            return;
        }
        let time = self.config.daemon.drain_timeout;
        let open = self.open();
        info!("{why}: draining {open} open connections, for {time:?} at most");
        self.deadline = Some(Instant::now() + time);
        // From now on they wait for the next daemon.
        self.parked.rest();
        // First of all: who comes from now on is the heir's, if there is one.
        self.running_listeners
            .iter_mut()
            .filter(|s| !s.has_ended())
            .for_each(|running| running.stop(handover));
        self.manager.stopping(time + MARGIN, format_args!("{}", self.drain_state()));
        self.tell = self.manager.listens().then(|| Instant::now() + TOLD);
        // A process that was to be started again has ended with that.
        self.reap_and_restart();
    }

    fn cut(&mut self, why: &str) {
        let open = self.open();
        match open {
            0 => info!("{why}"),
            open => warn!("{why}: {open} open connections are cut"),
        }
        self.running_listeners.iter_mut().for_each(RunningListener::cut);
    }

    /// Tells the service manager what is due: a ping, or how the drain goes on.
    fn keep_in_touch(&mut self) {
        if self.tell.is_some_and(|due| due <= Instant::now()) {
            self.tell = Some(Instant::now() + TOLD);
            let left =
                self.deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
            self.manager.still_stopping(left + MARGIN, format_args!("{}", self.drain_state()));
        }
        let Some(watchdog) = &mut self.watchdog else { return };
        if watchdog.is_to_ping(&self.running_listeners) {
            match self.deadline {
                None => self.manager.ping(format_args!("{}, {}", self.state(), connections(self.open()))),
                Some(_) => self.manager.ping(format_args!("{}", self.drain_state())),
            }
        }
    }

    fn open(&self) -> u32 {
        self.running_listeners.iter().map(RunningListener::open).sum()
    }

    fn state(&self) -> String {
        let serving = self.serving();
        let failed = match self.running_listeners.iter().filter(|running| running.has_failed()).count() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        format!("serving {serving} listener{}{failed}", if serving == 1 { "" } else { "s" })
    }

    fn serving(&self) -> usize {
        let serves = |running: &&RunningListener| !running.has_ended() && !running.is_superseded();
        self.running_listeners.iter().filter(serves).count()
    }

    fn drain_state(&self) -> String {
        let left = self.deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        // Rounded: nobody wants to read milliseconds.
        let seconds = left.as_secs_f32().round();
        format!("draining: {} left, {seconds} s at most", connections(self.open()))
    }

    fn report(&self) {
        self.manager.status(format_args!("{}, {}", self.state(), connections(self.open())));
        for running in &self.running_listeners {
            running.count_undelivered();
            let (name, state) = (running.name(), running.stats());
            let ended = match (running.has_ended(), running.is_superseded()) {
                (true, _) if running.has_failed() => " (failed)",
                (true, _) => " (ended)",
                (false, true) => " (before a reload)",
                (false, false) => "",
            };
            info!(listener = name; "listener \"{name}\"{ended}: {state}");
        }
    }

    /// A listener that has failed takes no other one with it.
    fn ended(&mut self, number: usize, ended: io::Result<()>) {
        let Some(running) = self.running_listeners.iter_mut().find(|running| running.number() == number)
        else {
            return;
        };
        let name = running.name().to_owned();
        let Err(cause) = ended else {
            running.end();
            self.keep_sockets();
            return self.forget();
        };
        if running.is_superseded() {
            running.end();
            warn!(listener = name; "listener \"{name}\": what was left of it before a reload has failed: {cause}");
            return self.forget();
        }
        running.fail();
        let text = format!("listener \"{name}\": cannot serve: {cause}");
        error!(listener = name; "{text}; it is not served any more, a reload tries again");
        self.failure = Some(Failure::new(Exit::Unavailable, text));
        self.keep_sockets();
        if self.deadline.is_none() {
            self.manager.status(format_args!("{}", self.state()));
        }
    }

    fn look_for_idleness(&mut self) {
        let Some(time) = self.config.daemon.exit_idle_time else { return };
        if self.deadline.is_some() {
            return;
        }
        let sum = |sum: u64, running: &RunningListener| sum.wrapping_add(running.stats().activity());
        let activity = self.running_listeners.iter().fold(0, sum);
        let open = self.open();
        // Somebody may have come whom nobody has looked at yet.
        let called = || self.running_listeners.iter().any(RunningListener::is_called);
        if open > 0 || activity != self.idle.activity || (self.idle.since.elapsed() >= time && called()) {
            self.idle = Idle { activity, since: Instant::now() };
        } else if self.idle.since.elapsed() >= time {
            // No other one is started until somebody asks for it.
            self.store.settle([]);
            self.drain(&format!("nothing to do for {time:?} (exit-idle-time)"), Handover::SocketUnit);
        }
    }
}

/// How often to look whether all is idle: so much later than it should the daemon may exit.
fn time_to_look(exit_idle_time: Duration) -> Duration {
    (exit_idle_time / 10).max(Duration::from_millis(10))
}
