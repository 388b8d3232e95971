//! What is healthy, and what is ready.
//!
//! Healthy: the supervisor answers, and every worker has acknowledged a ping. Event loops acknowledge within a turn, the process
//! of a forking listener between two clients, threads while they wait for a client. Ready: healthy, every listener serves, and
//! the daemon does not drain.

use super::snapshot::{Snapshot, State};

/// What keeps the daemon from being healthy: a line for each.
pub fn ailments(seen: &Snapshot) -> Vec<String> {
    let silent = seen.listeners.iter().filter(|listener| !listener.responds);
    silent.map(|listener| format!("listener \"{}\" does not respond", listener.name)).collect()
}

/// What keeps it from being ready, apart from its health.
pub fn unready(seen: &Snapshot) -> Vec<String> {
    let draining = seen.draining.then(|| "draining".to_owned());
    let failed = seen.listeners.iter().filter_map(|listener| match listener.state {
        State::Serving => None,
        // As it should in a drain.
        State::Ended if seen.draining => None,
        State::Failed => Some(format!("listener \"{}\" has failed", listener.name)),
        State::Ended => Some(format!("listener \"{}\" has ended", listener.name)),
    });
    draining.into_iter().chain(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::snapshot::ListenerView;

    #[test]
    fn the_listener_that_is_not_well_is_named() {
        let listener = |name: &str, responds, state| ListenerView {
            name: name.to_owned(),
            responds,
            state,
            ..ListenerView::default()
        };
        let mut seen = Snapshot {
            listeners: vec![listener("a", true, State::Serving), listener("b", true, State::Serving)],
            ..Snapshot::default()
        };
        assert!(ailments(&seen).is_empty() && unready(&seen).is_empty());
        seen.listeners.push(listener("c", false, State::Serving));
        assert_eq!(ailments(&seen), ["listener \"c\" does not respond"]);
        seen.listeners.push(listener("d", true, State::Failed));
        seen.draining = true;
        assert_eq!(unready(&seen), ["draining", "listener \"d\" has failed"]);
        seen.listeners = vec![listener("e", true, State::Ended)];
        assert_eq!(unready(&seen), ["draining"]);
        seen.draining = false;
        assert_eq!(unready(&seen), ["listener \"e\" has ended"]);
    }
}
