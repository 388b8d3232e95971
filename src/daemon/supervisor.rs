//! The supervisor: the main thread, which waits for signals and for listeners that end while workers serve. It sleeps until
//! an event arrives or something is due: a process to restart, the drain timeout, an idle check, the watchdog.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc, PoisonError,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use log::{error, info, warn};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGQUIT, SIGUSR1};

#[cfg(feature = "observe")]
use crate::observe::endpoint::RunningEndpoint;
use crate::{
    command::cli::Cli,
    config::Config,
    daemon::{
        event::SupervisorEvent,
        parked::Parked,
        running_listener::{Handover, RunningListener},
    },
    offload::KernelEcho,
    process::{notify::Manager, sandbox::ActiveSandbox},
    report::{
        error::{Exit, Failure},
        log_event::{LogEvent, millis},
        logging,
    },
    socket::fd_store::FdStore,
};

mod idle;
#[cfg(feature = "observe")]
mod observed;
mod orphans;
mod reload;
mod state;
mod text;
mod watchdog;

use idle::{Idle, idle_check_interval};
use reload::ConfigRead;
use text::{connections, name_of};
use watchdog::Watchdog;

/// How often the service manager is told how a drain proceeds.
const DRAIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How much longer than the drain the service manager should wait for the process to exit.
const MARGIN: Duration = Duration::from_secs(2);

/// Supervises all listeners.
pub struct Supervisor<'a> {
    cli: &'a Cli,
    config: Config,
    sandbox: ActiveSandbox,
    running_listeners: Vec<RunningListener>,
    /// Passed sockets that no listener wants at the moment.
    parked: Parked,
    /// The echo in the kernel.
    offload: KernelEcho,
    /// Number of the listener that was started last.
    number: usize,
    events: Sender<SupervisorEvent>,
    inbox: Receiver<SupervisorEvent>,
    /// End of the drain, once one has begun.
    deadline: Option<Instant>,
    /// Whether a signal has asked for the stop.
    stop_requested: bool,
    failure: Option<Failure>,
    idle: Idle,
    manager: Rc<Manager>,
    /// The service manager's fd store: which of our sockets it keeps.
    store: FdStore,
    watchdog: Option<Watchdog>,
    /// When the service manager is next told how the drain proceeds.
    drain_report: Option<Instant>,
    reading: Arc<ConfigRead>,
    /// Whether a reload waits for its configuration to be read.
    is_reading: bool,
    #[cfg(feature = "observe")]
    observed: observed::Observed,
    /// The endpoint through which people and programs look.
    #[cfg(feature = "observe")]
    endpoint: Option<RunningEndpoint>,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of `running_listeners`, which report in `inbox`.
    pub fn new(
        cli: &'a Cli,
        config: Config,
        sandbox: ActiveSandbox,
        (running_listeners, parked, offload): (Vec<RunningListener>, Parked, KernelEcho),
        number: usize,
        (events, inbox): (Sender<SupervisorEvent>, Receiver<SupervisorEvent>),
        (manager, store): (Rc<Manager>, FdStore),
    ) -> Supervisor<'a> {
        let idle = Idle::default();
        let watchdog = manager.watchdog().map(Watchdog::new);
        let (deadline, drain_report) = (None, None);
        Supervisor {
            cli,
            config,
            sandbox,
            running_listeners,
            parked,
            offload,
            number,
            events,
            inbox,
            deadline,
            stop_requested: false,
            failure: None,
            idle,
            manager,
            store,
            watchdog,
            drain_report,
            reading: Arc::default(),
            is_reading: false,
            #[cfg(feature = "observe")]
            observed: observed::Observed::default(),
            #[cfg(feature = "observe")]
            endpoint: None,
        }
    }

    /// Keeps the endpoint open as long as it supervises.
    #[cfg(feature = "observe")]
    pub fn with_endpoint(self, endpoint: Option<RunningEndpoint>) -> Supervisor<'a> {
        Supervisor { endpoint, ..self }
    }

    /// Supervises until all listeners have ended, or the drain timeout.
    pub fn run(mut self) -> Result<(), Failure> {
        self.sync_fd_store();
        self.manager.ready(format_args!("{}", self.state()));
        loop {
            if self.running_listeners.iter().all(RunningListener::has_ended) {
                info!(event = LogEvent::DaemonStopped; "all listeners have ended");
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
                Some(SupervisorEvent::Signal(signal)) if self.stop_requested => {
                    self.cut(&format!("told again to stop ({})", name_of(signal)));
                    break;
                }
                Some(SupervisorEvent::Signal(signal)) => {
                    self.stop_requested = true;
                    self.drain(&format!("told to stop ({})", name_of(signal)), Handover::NextDaemon);
                }
                Some(SupervisorEvent::Read(number, read)) => self.resume_reload(number, *read),
                Some(SupervisorEvent::Ended(number, ended)) => self.ended(number, ended),
                Some(SupervisorEvent::NetworkChanged(gone)) => {
                    let gone = gone.lock().unwrap_or_else(PoisonError::into_inner).take();
                    self.offload.forget(&gone.unwrap_or_default());
                    self.offload.sync();
                }
                #[cfg(feature = "observe")]
                Some(SupervisorEvent::Observed(ask)) => self.observed(ask),
                // From now on `logging::due` says when to write the queued lines.
                Some(SupervisorEvent::LogBehind) => {}
                None if self.deadline.is_some_and(|end| end <= Instant::now()) => {
                    self.cut("drain-timeout is over");
                    break;
                }
                None => {
                    self.reap_and_restart();
                    self.check_idle();
                }
            }
            self.notify_manager();
            logging::catch_up();
        }
        if self.deadline.is_none() {
            self.manager.stopping(MARGIN, format_args!("all listeners have ended"));
            // No signal asked for this end, so a failure is the exit code.
            return self.failure.map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn next_event(&self) -> Option<SupervisorEvent> {
        let due = self.running_listeners.iter().filter_map(RunningListener::due).chain(self.deadline).min();
        let check = self.config.daemon.exit_idle_time.map(|time| Instant::now() + idle_check_interval(time));
        let notify = self
            .watchdog
            .as_ref()
            .map(Watchdog::due)
            .into_iter()
            .chain(self.drain_report)
            .chain(logging::due());
        match due.into_iter().chain(check).chain(notify).min() {
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
            self.sync_fd_store();
        }
        self.prune();
    }

    /// Removes the listeners of earlier generations that have ended.
    fn prune(&mut self) {
        let over = |running: &&RunningListener| {
            running.has_ended() && running.is_superseded() && running.count_cut() > 0
        };
        for running in self.running_listeners.iter().filter(over) {
            let (name, cut) = (running.name(), running.count_cut());
            let were = if cut == 1 { "was" } else { "were" };
            let cut = connections(u32::try_from(cut).unwrap_or(u32::MAX));
            warn!(
                event = LogEvent::ListenerCut, listener = name, connections = running.count_cut();
                "listener \"{name}\": drain-timeout is over: {cut} {were} cut"
            );
        }
        self.forget(|running| running.has_ended() && running.is_superseded());
    }

    /// Forgets listeners, but not what they have counted.
    fn forget(&mut self, is_gone: impl Fn(&RunningListener) -> bool) {
        #[cfg(feature = "observe")]
        self.running_listeners.iter().filter(|s| is_gone(s)).for_each(|gone| self.observed.keep(gone));
        self.running_listeners.retain(|running| !is_gone(running));
    }

    /// Syncs the fd store with the current listeners. At shutdown the store stays as it is, for the next daemon.
    fn sync_fd_store(&mut self) {
        if self.deadline.is_some() {
            return;
        }
        self.store.sync(self.running_listeners.iter().flat_map(RunningListener::sockets_to_store));
        let kept = |running: &RunningListener| running.sockets_to_store().next().is_some();
        self.running_listeners.iter_mut().for_each(|running| running.leave_files(kept(running)));
    }

    fn drain(&mut self, why: &str, handover: Handover) {
        if self.deadline.is_some() {
            return;
        }
        let time = self.config.daemon.drain_timeout;
        let open = self.open();
        info!(
            event = LogEvent::DaemonStopping, reason = why, connections = open,
            drain_timeout_ms = millis(time);
            "{why}: draining {open} open connections, for {time:?} at most"
        );
        self.deadline = Some(Instant::now() + time);
        // From now on their clients wait for the next daemon.
        self.parked.stop_refusing();
        // First of all: clients that arrive from now on belong to the next daemon, if there is one, and to no answer of the kernel.
        self.running_listeners.iter().for_each(RunningListener::withdraw_from_kernel);
        self.running_listeners
            .iter_mut()
            .filter(|s| !s.has_ended())
            .for_each(|running| running.stop(handover));
        self.manager.stopping(time + MARGIN, format_args!("{}", self.drain_state()));
        self.drain_report = self.manager.listens().then(|| Instant::now() + DRAIN_REPORT_INTERVAL);
        // A process that waited to be restarted counts as ended now.
        self.reap_and_restart();
    }

    fn cut(&mut self, why: &str) {
        let open = self.open();
        match open {
            0 => info!(event = LogEvent::DaemonCut, reason = why, connections = open; "{why}"),
            open => warn!(
                event = LogEvent::DaemonCut, reason = why, connections = open;
                "{why}: {open} open connections are cut"
            ),
        }
        self.running_listeners.iter_mut().for_each(RunningListener::cut);
    }

    /// Notifies the service manager when due: a watchdog ping, or how the drain proceeds.
    fn notify_manager(&mut self) {
        if self.drain_report.is_some_and(|due| due <= Instant::now()) {
            self.drain_report = Some(Instant::now() + DRAIN_REPORT_INTERVAL);
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

    /// The threads of a listener have ended. A failure ends no other listener.
    fn ended(&mut self, number: usize, ended: io::Result<()>) {
        let Some(running) = self.running_listeners.iter_mut().find(|running| running.number() == number)
        else {
            return;
        };
        let name = running.name().to_owned();
        let Err(cause) = ended else {
            running.end();
            self.sync_fd_store();
            return self.prune();
        };
        if running.is_superseded() {
            running.end();
            warn!(
                event = LogEvent::ListenerRemnantFailed, listener = name, error:% = cause;
                "listener \"{name}\": what was left of it before a reload has failed: {cause}"
            );
            return self.prune();
        }
        running.fail();
        let text = format!("listener \"{name}\": cannot serve: {cause}");
        error!(
            event = LogEvent::ListenerFailed, listener = name, error:% = cause;
            "{text}; it is not served any more, a reload tries again"
        );
        self.failure = Some(Failure::new(Exit::Unavailable, text));
        self.sync_fd_store();
        if self.deadline.is_none() {
            self.manager.status(format_args!("{}", self.state()));
        }
    }
}
