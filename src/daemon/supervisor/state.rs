//! Status lines of the supervisor: for the service manager, and in the log on SIGUSR1.

use std::time::{Duration, Instant};

use log::{Level, Record, kv, logger};

use super::{Supervisor, text::connections};
use crate::{
    config,
    daemon::running_listener::RunningListener,
    faults::in_force,
    report::{log_event::LogEvent, stats::Stats},
};

impl Supervisor<'_> {
    pub(super) fn open(&self) -> u32 {
        self.running_listeners.iter().map(RunningListener::open).sum()
    }

    pub(super) fn state(&self) -> String {
        let serving = self.serving();
        let failed = match self.count_failed() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let faulty = match self.served().filter(|settings| in_force::plan_of(settings).is_some()).count() {
            0 => String::new(),
            faulty => format!(", faults on purpose on {faulty}"),
        };
        format!("serving {serving} listener{}{failed}{faulty}", if serving == 1 { "" } else { "s" })
    }

    pub(super) fn serving(&self) -> usize {
        self.served().count()
    }

    /// The settings of the listeners that serve.
    pub(super) fn served(&self) -> impl Iterator<Item = &config::Listener> {
        let serves = |running: &&RunningListener| !running.has_ended() && !running.is_superseded();
        self.running_listeners.iter().filter(serves).map(RunningListener::settings)
    }

    pub(super) fn count_failed(&self) -> usize {
        self.running_listeners.iter().filter(|running| running.has_failed()).count()
    }

    pub(super) fn drain_state(&self) -> String {
        let left = self.deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        // Rounded: milliseconds would only be noise.
        let seconds = left.as_secs_f32().round();
        format!("draining: {} left, {seconds} s at most", connections(self.open()))
    }

    pub(super) fn report(&self) {
        self.manager.status(format_args!("{}, {}", self.state(), connections(self.open())));
        for running in &self.running_listeners {
            running.count_undelivered();
            let (name, stats) = (running.name(), running.stats());
            let (state, note) = match (running.has_ended(), running.is_superseded()) {
                (true, _) if running.has_failed() => ("failed", " (failed)"),
                (true, _) => ("ended", " (ended)"),
                (false, true) => ("superseded", " (before a reload)"),
                (false, false) => ("serving", ""),
            };
            let fields = StateFields { name, state, stats };
            let message = format_args!("listener \"{name}\"{note}: {stats}");
            let mut record = Record::builder();
            record.level(Level::Info).target(module_path!()).key_values(&fields);
            logger().log(&record.args(message).build());
        }
    }
}

/// The fields of the status line of a listener: every counter, and every refusal reason that occurred.
struct StateFields<'a> {
    name: &'a str,
    state: &'a str,
    stats: &'a Stats,
}

impl kv::Source for StateFields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn kv::VisitSource<'kvs>) -> Result<(), kv::Error> {
        visitor.visit_pair("event".into(), LogEvent::ListenerState.word().into())?;
        visitor.visit_pair("listener".into(), self.name.into())?;
        visitor.visit_pair("state".into(), self.state.into())?;
        self.stats.counted().try_for_each(|(word, count)| visitor.visit_pair(word.into(), count.into()))
    }
}
