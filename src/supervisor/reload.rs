//! SIGHUP: the configuration is read again, and the next generation of listeners takes over. Until all of it is known to
//! work nothing changes; what does not work is told, and the old generation goes on.

use std::path::Path;

use log::{error, info, warn};

use super::Supervisor;
use crate::{
    config::{self, Config, Daemon, Environment, Loaded, LogTarget},
    error::Failure,
    generation::{self, Bound},
    listener::Listener,
    logging,
    peer::Peer,
    strategy,
};

impl Supervisor<'_> {
    pub(super) fn reload(&mut self) {
        if self.deadline.is_some() {
            info!("not reloaded: already stopping");
            return;
        }
        self.manager.reloading();
        if self.config.log.target == LogTarget::File
            && let Err(failure) = logging::install(&self.config.log)
        {
            // It may have been rotated, whatever becomes of the rest.
            warn!("the log file before stays open: {failure}");
        }
        match self.next_generation() {
            Ok(()) => {
                let state = self.state();
                info!("reloaded: {state}");
                self.manager.ready(format_args!("{state}"));
            }
            Err(failure) => {
                // A fault of the file is cited in several lines.
                failure.plain().lines().for_each(|line| error!("{line}"));
                error!("not reloaded: the configuration before stays in effect");
                let first = failure.plain().lines().next().unwrap_or_default();
                self.manager.ready(format_args!("{}; not reloaded: {first}", self.state()));
            }
        }
    }

    fn next_generation(&mut self) -> Result<(), Failure> {
        let environment =
            Environment { sandboxed: self.sandbox.hides_files(), ..Environment::from_process() };
        let Loaded { mut config, mut notes, .. } = generation::load(self.cli, &environment)?;
        self.sandbox.admits_modes(&config, false)?;
        strategy::settle(&mut config, &mut notes)?;
        self.sandbox.admits_modes(&config, true)?;
        self.sandbox.admits_files(&config, |settings, path| self.has_bound(settings, path))?;
        let whole = |config: &Config| {
            let Daemon { pid_file, user, group, sandbox, .. } = config.daemon.clone();
            (pid_file, user, group, sandbox)
        };
        if whole(&config) != whole(&self.config) {
            let keys = "`pid-file`, `user`, `group` and `sandbox`";
            notes.push(format!("new values of {keys} count from the next start on"));
        }
        let log = logging::prepare(&config.log)?;
        let mut bound = Bound::next(&config, &self.stations, self.store.room(), &mut notes)?;
        // From here on nothing is refused any more.
        log.install();
        notes.iter().for_each(|note| warn!("{note}"));
        generation::retire(&config, &mut self.stations, &bound);
        bound.take_over(&mut self.stations);
        let patience = config.daemon.drain_timeout;
        let closing = bound.close_left(&config.log, &mut self.number, &self.events, patience);
        let words = bound.words();
        let (stations, failures) = bound.start(&config.log, &mut self.number, &self.events);
        self.stations.extend(stations.into_iter().chain(closing));
        words.iter().for_each(|line| info!("{line}"));
        failures.iter().for_each(|failure| error!("{failure}"));
        self.config = config;
        self.keep_sockets();
        self.tend();
        Ok(())
    }

    /// Whether there is a socket for that listener and path, so that none has to be made.
    fn has_bound(&self, settings: &config::Listener, path: &Path) -> bool {
        let current = self.stations.iter().filter(|station| !station.is_superseded());
        let place = Peer::Path(path.into());
        current.into_iter().any(|station| {
            let is_passed = |socket: &Listener| socket.is_named() && station.name() == settings.name;
            station.sockets().iter().any(|socket| socket.is_at(&place) || is_passed(socket))
        })
    }
}
