//! What has changed from one look to the next.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    observe::{
        connections::{self, Connections, ListedConnection},
        fetch::Places,
        options::Sort,
        snapshot::{FaultsView, ListenerView, Snapshot},
        status,
    },
    report::{
        error::{Exit, Failure},
        stats::Totals,
    },
};

/// One look: the daemon and its connections.
pub(super) struct Sight {
    at: Instant,
    daemon: Snapshot,
    connections: Connections,
}

/// What has changed between two looks, in rates.
pub(super) struct Changes {
    pub(super) version: String,
    pub(super) pid: u32,
    /// How long the daemon is up, in seconds.
    pub(super) up: f64,
    /// The time between the looks, in seconds.
    pub(super) seconds: f64,
    /// What keeps the daemon from being ready.
    pub(super) unready: Vec<String>,
    pub(super) listeners: Vec<ListenerRates>,
    pub(super) total: usize,
    pub(super) connections: Vec<ConnectionRates>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ListenerRates {
    pub(super) name: String,
    pub(super) open: u32,
    pub(super) served_per_second: f64,
    pub(super) received_per_second: f64,
    pub(super) sent_per_second: f64,
    pub(super) refused_per_second: f64,
    pub(super) lost_per_second: f64,
    /// The plan of faults on purpose that is in force, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) faults: Option<FaultsView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ConnectionRates {
    #[serde(flatten)]
    pub(super) connection: ListedConnection,
    pub(super) received_per_second: Option<f64>,
    pub(super) sent_per_second: Option<f64>,
}

impl Sight {
    /// Looks at the daemon, and at its connections: here, where it is on this machine, else as it sees them itself.
    pub(super) fn take(places: &Places, timeout: Duration) -> Result<Sight, Failure> {
        let daemon = status::read(&places.get_ok("/status", timeout)?)?;
        let connections = match places.are_local() {
            true => connections::look(&daemon.listeners, usize::MAX).map_err(|error| {
                Failure::new(Exit::Unavailable, format!("the kernel does not list connections: {error}"))
            })?,
            false => serde_json::from_str(&places.get_ok("/connections", timeout)?).unwrap_or_default(),
        };
        Ok(Sight { at: Instant::now(), daemon, connections })
    }
}

impl Changes {
    pub(super) fn between(before: &Sight, now: &Sight, sort: Sort) -> Changes {
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        // A look beside itself has no rates.
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let rates = |listener: &ListenerView| {
            let earlier = before.daemon.listeners.iter().find(|earlier| earlier.name == listener.name);
            let since = |count: fn(&Totals) -> u64| {
                // One that is new has begun at 0.
                let earlier = earlier.map_or(0, |earlier| count(&earlier.totals));
                per_second(count(&listener.totals).saturating_sub(earlier))
            };
            ListenerRates {
                name: listener.name.clone(),
                open: listener.open,
                served_per_second: since(|totals| totals.served),
                received_per_second: since(|totals| totals.received),
                sent_per_second: since(|totals| totals.sent),
                refused_per_second: since(|totals| totals.refused.values().sum()),
                lost_per_second: since(|totals| status::losses(totals).iter().map(|(_, count)| count).sum()),
                faults: listener.faults.clone(),
            }
        };
        let key = |connection: &ListedConnection| (connection.listener.clone(), connection.peer.clone());
        let earlier = before.connections.listed.iter().map(|connection| (key(connection), connection));
        let earlier: HashMap<_, _> = earlier.collect();
        let of_connection = |connection: &ListedConnection| {
            let earlier = earlier.get(&key(connection));
            let since = |bytes: fn(&ListedConnection) -> Option<u64>| {
                let before = earlier.and_then(|earlier| bytes(earlier)).unwrap_or_default();
                Some(per_second(bytes(connection)?.saturating_sub(before)))
            };
            let mut connection = connection.clone();
            // What waits, while nothing of it is taken, is not read. A peer without room is probed with data now and then, which the
            // kernel counts as sent.
            connection.not_reading |= seconds >= 0.5
                && earlier.is_some_and(|earlier| {
                    let waits = connection.unsent > 0 && earlier.unsent > 0;
                    waits && connection.sent == earlier.sent && connection.unsent >= earlier.unsent
                });
            ConnectionRates {
                received_per_second: since(|connection| connection.received),
                sent_per_second: since(|connection| connection.sent),
                connection,
            }
        };
        let daemon = &now.daemon;
        let mut changes = Changes {
            version: daemon.version.clone(),
            pid: daemon.pid,
            up: daemon.time - daemon.started,
            seconds,
            unready: crate::observe::health::unready(daemon),
            listeners: daemon.listeners.iter().map(rates).collect(),
            total: now.connections.total,
            connections: now.connections.listed.iter().map(of_connection).collect(),
        };
        changes.sort(sort);
        changes
    }

    /// Brings the connections into this order.
    pub(super) fn sort(&mut self, sort: Sort) {
        let rate = |rates: &ConnectionRates| {
            rates.received_per_second.unwrap_or_default() + rates.sent_per_second.unwrap_or_default()
        };
        self.connections.sort_by(|a, b| {
            let by = match sort {
                Sort::Rate => rate(b).total_cmp(&rate(a)),
                Sort::Rtt => b.connection.rtt_us.cmp(&a.connection.rtt_us),
                Sort::Idle => b.connection.idle_ms.cmp(&a.connection.idle_ms),
            };
            // The same order in each look.
            by.then_with(|| a.connection.peer.cmp(&b.connection.peer))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(at: Instant, served: u64, received: u64) -> Sight {
        let totals = Totals { served, received, ..Totals::default() };
        let listener = ListenerView { name: "it".into(), totals, ..ListenerView::default() };
        let of = |peer: &str, received, rtt| ListedConnection {
            listener: "it".into(),
            peer: peer.into(),
            received: Some(received),
            sent: Some(0),
            rtt_us: Some(rtt),
            ..ListedConnection::default()
        };
        let listed = vec![of("quiet", 7, 900), of("busy", received, 100)];
        Sight {
            at,
            daemon: Snapshot { listeners: vec![listener], ..Snapshot::default() },
            connections: Connections { total: 2, listed },
        }
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let begin = Instant::now();
        let (before, now) = (sight(begin, 10, 1000), sight(begin + Duration::from_secs(2), 14, 5000));
        let mut changes = Changes::between(&before, &now, Sort::Rate);
        assert_eq!(changes.listeners[0].served_per_second, 2.0);
        assert_eq!(changes.listeners[0].received_per_second, 2000.0);
        assert_eq!(changes.connections[0].connection.peer, "busy");
        assert_eq!(changes.connections[0].received_per_second, Some(2000.0));
        assert_eq!(changes.connections[1].received_per_second, Some(0.0));
        changes.sort(Sort::Rtt);
        assert_eq!(changes.connections[0].connection.peer, "quiet");
        let same = Changes::between(&now, &now, Sort::Rate);
        assert_eq!(same.listeners[0].served_per_second, 0.0);
    }
}
