//! What the supervisor tells of the daemon when somebody looks.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Supervisor, watchdog::Watchdog};
use crate::{
    access::sources::SourceKey,
    config::{self, ProxyProtocol, Workers},
    daemon::running_listener::RunningListener,
    faults::in_force,
    observe::{
        explain::{ClientAnswer, ClientQuery, ClientView},
        snapshot::{FaultsView, LastReload, ListenerView, Snapshot, SnapshotRequest, State},
    },
    report::{error::Failure, stats::Totals},
    socket::listener::Listener,
    sys::clock,
};

/// What is remembered for those who look.
pub(super) struct Observed {
    started: SystemTime,
    reload: LastReload,
    /// What listeners of earlier generations have counted, by their name.
    gone: HashMap<String, Totals>,
}

impl Default for Observed {
    fn default() -> Observed {
        let now = SystemTime::now();
        let reload = LastReload { successful: true, success_time: seconds(now), refused: None };
        Observed { started: now, reload, gone: HashMap::new() }
    }
}

impl Observed {
    /// Keeps what a listener has counted that is about to be forgotten.
    pub(super) fn keep(&mut self, gone: &RunningListener) {
        *self.gone.entry(gone.name().to_owned()).or_default() += &gone.stats().totals();
    }

    /// Notes the outcome of a reload.
    pub(super) fn reloaded(&mut self, done: &Result<(), Failure>) {
        match done {
            Ok(()) => {
                let success_time = seconds(SystemTime::now());
                self.reload = LastReload { successful: true, success_time, refused: None };
            }
            Err(failure) => {
                self.reload.successful = false;
                self.reload.refused = Some(in_a_line(failure.plain()));
            }
        }
    }
}

/// The first fault with its place, and how many more there are.
fn in_a_line(faults: &str) -> String {
    let mut lines = faults.lines();
    let first = lines.next().unwrap_or_default();
    let place = lines.next().and_then(|line| line.trim_start().strip_prefix("--> "));
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    let fault = first.strip_prefix("error: ").unwrap_or(first);
    match lines.filter(|line| line.starts_with("error: ")).count() {
        0 => format!("{place}{fault}"),
        more => format!("{place}{fault} (and {more} more)"),
    }
}

impl Supervisor<'_> {
    /// Answers a request for a snapshot.
    pub(super) fn observed(&mut self, ask: SnapshotRequest) {
        if ask.ping {
            self.running_listeners.iter().filter(|s| !s.has_ended()).for_each(RunningListener::ping);
            self.watchdog.iter_mut().for_each(Watchdog::pinged_beside);
        }
        let now = clock::now();
        let clients = ask.clients.into_iter().map(|query| {
            let answer = self.known_of(&query, now);
            (query, answer)
        });
        let clients = clients.collect();
        (ask.answer)(Snapshot { clients, ..self.snapshot() });
    }

    fn snapshot(&self) -> Snapshot {
        let mut sums = self.sums();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            time: seconds(SystemTime::now()),
            started: seconds(self.observed.started),
            draining: self.deadline.is_some(),
            config: self.cli.config.as_ref().map(|path| path.display().to_string()),
            reload: self.observed.reload.clone(),
            sandbox: self.sandbox.layers().to_vec(),
            processes: self.running_listeners.iter().filter_map(RunningListener::process).map(id).collect(),
            listeners: self.current().map(|running| view(running, &mut sums)).collect(),
            clients: Vec::new(),
        }
    }

    /// What the listeners know of a client.
    fn known_of(&self, query: &ClientQuery, now: u64) -> ClientAnswer {
        let asked = self.current().filter(|running| {
            let is_wanted = query.listener.as_ref().is_none_or(|name| name == running.name());
            is_wanted && may_have(running.settings(), query.source)
        });
        let view = |running: &RunningListener| ClientView {
            listener: running.name().to_owned(),
            protocol: running.settings().protocol.to_string(),
            state: running.access().look(query.source, query.port, now),
        };
        ClientAnswer { source: query.to_string(), listeners: asked.map(view).collect() }
    }

    /// The listeners of the present generation.
    fn current(&self) -> impl Iterator<Item = &RunningListener> {
        self.running_listeners.iter().filter(|running| !running.is_superseded())
    }

    /// What all generations of each listener have counted and have open, by its name. There may be very many listeners.
    fn sums(&self) -> HashMap<&str, (Totals, u32)> {
        let mut sums: HashMap<&str, (Totals, u32)> = HashMap::new();
        for running in &self.running_listeners {
            if !running.is_superseded() {
                running.count_undelivered();
            }
            let of_gone = || (self.observed.gone.get(running.name()).cloned().unwrap_or_default(), 0);
            let (totals, open) = sums.entry(running.name()).or_insert_with(of_gone);
            *totals += &running.stats().totals();
            *open += running.open();
        }
        sums
    }
}

/// A listener, with what earlier generations of it still serve.
fn view(running: &RunningListener, sums: &mut HashMap<&str, (Totals, u32)>) -> ListenerView {
    let settings = running.settings();
    let (totals, open) = sums.remove(running.name()).unwrap_or_default();
    ListenerView {
        name: settings.name.clone(),
        protocol: settings.protocol.to_string(),
        mode: settings.mode.to_string(),
        service: settings.service.to_string(),
        addresses: running.sockets().iter().map(|socket: &Listener| socket.url().to_string()).collect(),
        state: match (running.has_failed(), running.has_ended()) {
            (true, _) => State::Failed,
            (false, true) => State::Ended,
            (false, false) => State::Serving,
        },
        responds: running.has_acknowledged(),
        workers: if settings.workers == Workers::PerRequest { 0 } else { settings.pool() as u32 },
        pid: running.process().map(id),
        open,
        limit: settings.max_connections,
        faults: in_force::plan_of(settings)
            .map(|plan| FaultsView { plan: plan.name.clone(), seed: plan.seed() }),
        offload: running.offloaded_on(),
        totals,
    }
}

/// Whether a listener may have such a client: users come to a unix socket, addresses to the others and through proxies.
fn may_have(settings: &config::Listener, source: SourceKey) -> bool {
    let is_local = settings.protocol.is_unix();
    match source {
        SourceKey::User(_) => is_local,
        SourceKey::Ip(_) => !is_local || settings.proxy_protocol != ProxyProtocol::Off,
    }
}

fn id(pid: nix::unistd::Pid) -> u32 {
    pid.as_raw().unsigned_abs()
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::in_a_line;

    #[test]
    fn the_first_fault_is_told_with_its_place() {
        assert_eq!(in_a_line("cannot read x: no such file"), "cannot read x: no such file");
        let one = "error: unknown key `a`\n  --> x.toml:3:1\n  |\n3 | a = 1\n";
        assert_eq!(in_a_line(one), "x.toml:3:1: unknown key `a`");
        assert_eq!(
            in_a_line(&format!("{one}\nerror: b\n\nerror: c\n")),
            "x.toml:3:1: unknown key `a` (and 2 more)"
        );
    }
}
