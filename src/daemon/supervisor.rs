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
        event::Event,
        parked::Parked,
        running_listener::{Heir, Station},
    },
    process::{notify::Manager, sandbox::Sandbox},
    report::{
        error::{Exit, Failure},
        logging,
    },
    socket::fd_store::Store,
};

mod orphans;
mod reload;
mod watchdog;
mod words;

use reload::Reading;
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
    stations: Vec<Station>,
    /// Passed sockets that no listener wants at the moment.
    parked: Parked,
    /// That of the station that was started last.
    number: usize,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    /// When a drain that has begun is over.
    deadline: Option<Instant>,
    /// Whether a signal said so.
    told: bool,
    failure: Option<Failure>,
    idle: Idle,
    manager: Rc<Manager>,
    /// What of our sockets the service manager keeps.
    store: Store,
    watchdog: Option<Watchdog>,
    /// When the service manager is told again of a drain.
    tell: Option<Instant>,
    reading: Arc<Reading>,
    /// Whether a reload waits for its configuration.
    is_reading: bool,
}

/// Since when nothing has happened.
struct Idle {
    activity: u64,
    since: Instant,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of `stations`, which are told of in `inbox`.
    pub fn new(
        cli: &'a Cli,
        config: Config,
        sandbox: Sandbox,
        (stations, parked): (Vec<Station>, Parked),
        number: usize,
        (events, inbox): (Sender<Event>, Receiver<Event>),
        (manager, store): (Rc<Manager>, Store),
    ) -> Supervisor<'a> {
        let idle = Idle { activity: 0, since: Instant::now() };
        let watchdog = manager.watchdog().map(Watchdog::new);
        let (deadline, tell) = (None, None);
        Supervisor {
            cli,
            config,
            sandbox,
            stations,
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
            if self.stations.iter().all(Station::has_ended) {
                info!("all listeners have ended");
                break;
            }
            match self.next_event() {
                Some(Event::Signal(SIGCHLD)) => {
                    self.tend();
                    orphans::reap(|child| self.stations.iter().any(|s| s.process() == Some(child)));
                }
                Some(Event::Signal(SIGUSR1)) => self.report(),
                Some(Event::Signal(SIGHUP)) => self.reload(),
                Some(Event::Signal(SIGQUIT)) => {
                    self.cut("told to end at once");
                    break;
                }
                Some(Event::Signal(signal)) if self.told => {
                    self.cut(&format!("told again to stop ({})", name_of(signal)));
                    break;
                }
                Some(Event::Signal(signal)) => {
                    self.told = true;
                    self.drain(&format!("told to stop ({})", name_of(signal)), Heir::Daemon);
                }
                Some(Event::Read(number, read)) => self.go_on(number, *read),
                Some(Event::Ended(number, ended)) => self.ended(number, ended),
                // From now on it is looked at when it is due.
                Some(Event::LogBehind) => {}
                None if self.deadline.is_some_and(|end| end <= Instant::now()) => {
                    self.cut("drain-timeout is over");
                    break;
                }
                None => {
                    self.tend();
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

    fn next_event(&self) -> Option<Event> {
        let due = self.stations.iter().filter_map(Station::due).chain(self.deadline).min();
        let look = self.config.daemon.exit_idle_time.map(|time| Instant::now() + time_to_look(time));
        let touch =
            self.watchdog.as_ref().map(Watchdog::due).into_iter().chain(self.tell).chain(logging::due());
        match due.into_iter().chain(look).chain(touch).min() {
            None => self.inbox.recv().ok(),
            Some(due) => self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())).ok(),
        }
    }

    fn tend(&mut self) {
        let serving = self.serving();
        self.stations.iter_mut().filter(|s| !s.has_ended()).for_each(Station::tend);
        if self.serving() < serving {
            self.keep_sockets();
        }
        self.forget();
    }

    /// Forgets the stations of earlier generations that have ended.
    fn forget(&mut self) {
        let over =
            |station: &&Station| station.has_ended() && station.is_superseded() && station.count_cut() > 0;
        for station in self.stations.iter().filter(over) {
            let (name, cut) = (station.name(), station.count_cut());
            let were = if cut == 1 { "was" } else { "were" };
            let cut = connections(u32::try_from(cut).unwrap_or(u32::MAX));
            warn!(listener = name; "listener \"{name}\": drain-timeout is over: {cut} {were} cut");
        }
        self.stations.retain(|station| !(station.has_ended() && station.is_superseded()));
    }

    /// Brings what the service manager keeps up to date. Once we stop it keeps what it has, for the next daemon.
    fn keep_sockets(&mut self) {
        if self.deadline.is_some() {
            return;
        }
        self.store.settle(self.stations.iter().flat_map(Station::keepsakes));
        let kept = |station: &Station| station.keepsakes().next().is_some();
        self.stations.iter_mut().for_each(|station| station.leave_files(kept(station)));
    }

    fn drain(&mut self, why: &str, heir: Heir) {
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
        self.stations.iter_mut().filter(|s| !s.has_ended()).for_each(|station| station.stop(heir));
        self.manager.stopping(time + MARGIN, format_args!("{}", self.drain_state()));
        self.tell = self.manager.listens().then(|| Instant::now() + TOLD);
        // A process that was to be started again has ended with that.
        self.tend();
    }

    fn cut(&mut self, why: &str) {
        let open = self.open();
        match open {
            0 => info!("{why}"),
            open => warn!("{why}: {open} open connections are cut"),
        }
        self.stations.iter_mut().for_each(Station::cut);
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
        if watchdog.is_to_ping(&self.stations) {
            match self.deadline {
                None => self.manager.ping(format_args!("{}, {}", self.state(), connections(self.open()))),
                Some(_) => self.manager.ping(format_args!("{}", self.drain_state())),
            }
        }
    }

    fn open(&self) -> u32 {
        self.stations.iter().map(Station::open).sum()
    }

    fn state(&self) -> String {
        let serving = self.serving();
        let failed = match self.stations.iter().filter(|station| station.has_failed()).count() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        format!("serving {serving} listener{}{failed}", if serving == 1 { "" } else { "s" })
    }

    fn serving(&self) -> usize {
        let serves = |station: &&Station| !station.has_ended() && !station.is_superseded();
        self.stations.iter().filter(serves).count()
    }

    fn drain_state(&self) -> String {
        let left = self.deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        // Rounded: nobody wants to read milliseconds.
        let seconds = left.as_secs_f32().round();
        format!("draining: {} left, {seconds} s at most", connections(self.open()))
    }

    fn report(&self) {
        self.manager.status(format_args!("{}, {}", self.state(), connections(self.open())));
        for station in &self.stations {
            station.count_undelivered();
            let (name, state) = (station.name(), station.stats());
            let ended = match (station.has_ended(), station.is_superseded()) {
                (true, _) if station.has_failed() => " (failed)",
                (true, _) => " (ended)",
                (false, true) => " (before a reload)",
                (false, false) => "",
            };
            info!(listener = name; "listener \"{name}\"{ended}: {state}");
        }
    }

    /// A listener that has failed takes no other one with it.
    fn ended(&mut self, number: usize, ended: io::Result<()>) {
        let Some(station) = self.stations.iter_mut().find(|station| station.number() == number) else {
            return;
        };
        let name = station.name().to_owned();
        let Err(cause) = ended else {
            station.end();
            self.keep_sockets();
            return self.forget();
        };
        if station.is_superseded() {
            station.end();
            warn!(listener = name; "listener \"{name}\": what was left of it before a reload has failed: {cause}");
            return self.forget();
        }
        station.fail();
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
        let sum = |sum: u64, station: &Station| sum.wrapping_add(station.stats().activity());
        let activity = self.stations.iter().fold(0, sum);
        let open = self.open();
        // Somebody may have come whom nobody has looked at yet.
        let called = || self.stations.iter().any(Station::is_called);
        if open > 0 || activity != self.idle.activity || (self.idle.since.elapsed() >= time && called()) {
            self.idle = Idle { activity, since: Instant::now() };
        } else if self.idle.since.elapsed() >= time {
            // No other one is started until somebody asks for it.
            self.store.settle([]);
            self.drain(&format!("nothing to do for {time:?} (exit-idle-time)"), Heir::Manager);
        }
    }
}

/// How often to look whether all is idle: so much later than it should the daemon may exit.
fn time_to_look(exit_idle_time: Duration) -> Duration {
    (exit_idle_time / 10).max(Duration::from_millis(10))
}
