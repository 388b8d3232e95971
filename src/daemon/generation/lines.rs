//! Log lines about a generation.

use std::collections::HashSet;

use log::{info, warn};

use crate::{
    access::guard,
    config::{self, Mode, Note, ServiceKind, Workers},
    faults::in_force,
    report::{fault_kind::FaultKind, log_event::LogEvent},
    socket::listener::Listener,
};

/// The log line about one socket, written once it is served.
pub struct ServingLine {
    name: String,
    service: ServiceKind,
    address: String,
    mode: Mode,
    workers: Workers,
    /// Source ports that are not answered.
    silent: String,
}

impl ServingLine {
    pub(super) fn new(settings: &config::Listener, socket: &Listener) -> ServingLine {
        ServingLine {
            name: settings.name.clone(),
            service: settings.service,
            address: socket.url().to_string(),
            mode: settings.mode,
            workers: settings.workers,
            silent: guard::silent_ports(settings).unwrap_or_default(),
        }
    }

    /// Writes the line.
    pub fn log(&self) {
        let ServingLine { name, service, address, mode, workers, silent } = self;
        info!(
            event = LogEvent::ListenerServing, listener = name.as_str(), service:% = service,
            address = address.as_str(), mode:% = mode, workers:% = workers;
            "listener \"{name}\": serving {service} at {address}, mode {mode}, workers {workers}{silent}"
        );
    }
}

/// Tells of each listener that misbehaves on purpose, and of those that `did` so before a reload and do no longer.
pub fn log_faults<'a>(listeners: impl Iterator<Item = &'a config::Listener>, did: &HashSet<String>) {
    for settings in listeners {
        let name = settings.name.as_str();
        if let Some(plan) = in_force::plan_of(settings) {
            let kinds = in_force::kinds(plan, settings.protocol.is_stream()).map(FaultKind::word);
            let (seed, kinds) = (plan.seed(), kinds.collect::<Vec<_>>().join(", "));
            warn!(
                event = LogEvent::FaultsOn, listener = name, plan = plan.name.as_str(), seed = seed,
                faults = kinds.as_str();
                "listener \"{name}\": faults on purpose by plan \"{}\" (seed {seed}): {kinds}", plan.name
            );
        } else if did.contains(name) {
            info!(event = LogEvent::FaultsOff, listener = name; "listener \"{name}\": no faults on purpose any more");
        }
    }
}

/// Logs notes for the administrator about listeners that are served all the same.
pub fn log_notes(notes: &[Note]) {
    for Note { text, listener, address, keys } in notes {
        warn!(
            event = LogEvent::ConfigNote, listener = listener.as_deref(), address = address.as_deref(),
            keys = keys.as_deref();
            "{text}"
        );
    }
}
