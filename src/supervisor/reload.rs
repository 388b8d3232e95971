//! SIGHUP: the configuration is read again, and the next generation of listeners takes over. Until all of it is known to
//! work nothing changes; what does not work is told, and the old generation goes on.

use log::{error, info, warn};

use super::Supervisor;
use crate::{
    config::{Config, Daemon, LogTarget},
    error::Failure,
    generation::{self, Bound},
    logging, strategy,
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
        let (mut config, mut notes) = generation::load(self.cli)?;
        strategy::settle(&mut config, &mut notes)?;
        let whole = |config: &Config| {
            let Daemon { pid_file, user, group, .. } = config.daemon.clone();
            (pid_file, user, group)
        };
        if whole(&config) != whole(&self.config) {
            notes
                .push("new values of `pid-file`, `user` and `group` count from the next start on".to_owned());
        }
        let log = logging::prepare(&config.log)?;
        let mut bound = Bound::next(&config, &self.stations, &mut notes)?;
        // From here on nothing is refused any more.
        log.install();
        notes.iter().for_each(|note| warn!("{note}"));
        generation::retire(&config, &mut self.stations, &bound);
        bound.take_over(&mut self.stations);
        let words = bound.words();
        let (stations, failures) = bound.start(&config.log, &mut self.number, &self.events);
        self.stations.extend(stations);
        words.iter().for_each(|line| info!("{line}"));
        failures.iter().for_each(|failure| error!("{failure}"));
        self.config = config;
        self.tend();
        Ok(())
    }
}
