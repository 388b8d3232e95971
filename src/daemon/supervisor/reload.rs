//! SIGHUP: reads the configuration again, and lets the next generation of listeners take over. Nothing changes until all of
//! it is known to work; a failure is logged, and the current generation goes on.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use log::{Level, error, info, warn};

use super::Supervisor;
use crate::{
    config::{self, Environment, Loaded, LogTarget, Note},
    daemon::{
        event::SupervisorEvent,
        generation::{self, ListenerPlan, ServingLine},
        running_listener::RunningListener,
    },
    faults::in_force,
    modes, offload,
    process::named_thread,
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
        logging,
    },
    socket::{address::Peer, host_names::HostNames, listener::Listener},
};

/// Stack of a thread that reads the configuration, in bytes: what a first thread usually has.
const STACK: usize = 2 << 20;

/// Shared by the threads that read the configuration for a reload.
#[derive(Default)]
pub(super) struct ConfigRead {
    /// Number of the latest reload; earlier ones are void.
    latest: AtomicUsize,
    /// One thread reads at a time, because a configuration may be large.
    turn: Mutex<()>,
}

impl Supervisor<'_> {
    pub(super) fn reload(&mut self) {
        if self.deadline.is_some() {
            log_already_stopping();
            return;
        }
        self.manager.reloading();
        if self.config.log.target == LogTarget::File
            && let Err(failure) = logging::install(&self.config.log)
        {
            // The log file may have been rotated, so it is reopened whatever becomes of the reload.
            warn!(
                event = LogEvent::LogReopenFailed, error:% = failure;
                "the log file before stays open: {failure}"
            );
        }
        let number = self.reading.latest.fetch_add(1, Relaxed) + 1;
        self.is_reading = true;
        if let Err(error) = self.read(number) {
            self.is_reading = false;
            let text = format!("cannot read the configuration: {error}");
            self.report_reload(Err(Failure::new(Exit::Unavailable, text)));
        }
    }

    /// Reads the configuration in a thread: neither a slow disk nor a silent name server may keep the supervisor from signals
    /// or from its watchdog.
    fn read(&self, number: usize) -> io::Result<()> {
        let (cli, events, reading) = (self.cli.clone(), self.events.clone(), Arc::clone(&self.reading));
        let environment =
            Environment { sandboxed: self.sandbox.hides_files(), ..Environment::from_process() };
        let is_over = move || reading.latest.load(Relaxed) != number;
        let turn = Arc::clone(&self.reading);
        let read = move || {
            let turn = turn.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if is_over() {
                return;
            }
            let loaded = generation::load(&cli, &environment);
            drop(turn);
            let found = match loaded {
                Ok(loaded) => match HostNames::look_up(&loaded.config.listeners, &is_over) {
                    Some(names) => Ok((loaded, names)),
                    None => return,
                },
                Err(failure) => Err(failure),
            };
            // A send fails only once the supervisor has ended.
            let _ = events.send(SupervisorEvent::Read(number, Box::new(found)));
        };
        named_thread::spawn("reload", STACK, read).map(|_| ())
    }

    /// Continues a reload once its configuration was read. A later SIGHUP voids it.
    pub(super) fn resume_reload(&mut self, number: usize, read: Result<(Loaded, HostNames), Failure>) {
        if !self.is_reading || self.reading.latest.load(Relaxed) != number {
            return;
        }
        self.is_reading = false;
        match self.deadline {
            Some(_) => log_already_stopping(),
            None => {
                let done = read.and_then(|(loaded, names)| self.next_generation(loaded, &names));
                self.report_reload(done);
            }
        }
    }

    /// Reports the outcome of a reload to the log and the service manager.
    fn report_reload(&mut self, done: Result<(), Failure>) {
        #[cfg(feature = "observe")]
        self.observed.reloaded(&done);
        match done {
            Ok(()) => {
                let state = self.state();
                info!(
                    event = LogEvent::ReloadDone, listeners = self.serving(), failed = self.count_failed();
                    "reloaded: {state}"
                );
                self.manager.ready(format_args!("{state}"));
            }
            Err(failure) => {
                // A configuration error has several lines, with the excerpt.
                failure.plain().lines().for_each(|line| error!(event = LogEvent::ReloadFault; "{line}"));
                let first = failure.plain().lines().next().unwrap_or_default();
                error!(
                    event = LogEvent::ReloadRefused, reason = first;
                    "not reloaded: the configuration before stays in effect"
                );
                self.manager.ready(format_args!("{}; not reloaded: {first}", self.state()));
            }
        }
    }

    fn next_generation(&mut self, loaded: Loaded, names: &HostNames) -> Result<(), Failure> {
        let Loaded { mut config, mut notes, .. } = loaded;
        self.sandbox.admits_modes(&config, false)?;
        modes::resolve_fallbacks(&mut config, &mut notes)?;
        self.sandbox.admits_modes(&config, true)?;
        self.sandbox.admits_files(&config, |settings, path| self.has_bound(settings, path))?;
        self.offload.admits(&config)?;
        let later = self.config.for_the_next_start(&config);
        if !later.is_empty() {
            let keys: Vec<_> = later.iter().map(|key| format!("`{key}`")).collect();
            let text = format!("new values of {} count from the next start on", keys.join(" and "));
            notes.push(Note::new(text).about(later.join(", ")));
        }
        let log = logging::prepare(&config.log)?;
        let served = (self.running_listeners.as_slice(), &self.parked);
        let mut plan = ListenerPlan::next(&config, names, served, self.store.capacity(), &mut notes)?;
        let (serving, unwanted) = (plan.serving_lines(), plan.take_unwanted());
        let next = plan.prepare(&config.log, &mut self.number, &self.events)?;
        // Everything that can fail is prepared: from here on the reload cannot fail.
        log.install();
        generation::log_notes(&notes);
        let faulty = self.served().filter(|settings| in_force::plan_of(settings).is_some());
        let faulty = faulty.map(|settings| settings.name.clone()).collect();
        generation::retire(&config, &mut self.running_listeners, &next);
        self.parked.set(unwanted);
        let running_listeners = next.begin(&mut self.running_listeners, config.daemon.drain_timeout);
        // A failed listener was replaced, or is no longer configured.
        self.forget(|s| s.has_failed() || (s.has_ended() && !s.is_superseded()));
        self.failure = None;
        self.running_listeners.extend(running_listeners);
        self.enter_kernel();
        serving.iter().for_each(ServingLine::log);
        generation::log_faults(self.served(), &faulty);
        #[cfg(feature = "observe")]
        self.endpoint.iter().for_each(|endpoint| endpoint.reload(&config.observe));
        self.config = config;
        self.sync_fd_store();
        self.reap_and_restart();
        Ok(())
    }

    /// Has the kernel echo for the new listeners that ask. What is served before and meanwhile, the sockets serve.
    fn enter_kernel(&mut self) {
        self.offload.check();
        for running in &mut self.running_listeners {
            if let Err(failure) = running.enter_kernel(&self.offload) {
                let why = failure.plain();
                offload::log_unavailable(Level::Warn, running.name(), why, format_args!("{why}"));
            }
        }
        self.offload.sync();
    }

    /// Whether a socket exists for this listener and path, so that none must be bound.
    fn has_bound(&self, settings: &config::Listener, path: &Path) -> bool {
        let current = self.running_listeners.iter().filter(|running| !running.is_superseded());
        let place = Peer::Path(path.into());
        let has_it = |socket: &Listener| socket.is_at(&place) || socket.is_named(settings);
        current.flat_map(RunningListener::sockets).chain(self.parked.sockets()).any(has_it)
    }
}

fn log_already_stopping() {
    info!(event = LogEvent::ReloadRefused, reason = "already stopping"; "not reloaded: already stopping");
}
