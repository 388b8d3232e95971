//! What can be asked for, and how often it was.

use super::{http::Status, snapshot::Snapshot};

/// What a response is made of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The daemon.
    pub daemon: &'a Snapshot,
    /// The requests so far.
    pub requests: &'a RequestCounts,
}

/// How many requests there were, by what they asked for and how they were answered.
#[derive(Clone, Default)]
pub struct RequestCounts {
    counts: [[u64; Status::ALL.len()]; Route::ALL.len() + 1],
}

impl RequestCounts {
    /// Counts a request, which may be for nothing that there is.
    pub fn count(&mut self, route: Option<Route>, status: Status) {
        self.counts[route.map_or(Route::ALL.len(), |route| route as usize)][status as usize] += 1;
    }

    /// Every count, with the path, or `other`.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Status, u64)> + '_ {
        let paths = Route::ALL.iter().map(|route| route.path()).chain(["other"]);
        paths.zip(&self.counts).flat_map(|(path, counts)| {
            Status::ALL.iter().zip(counts).map(move |(status, count)| (path, *status, *count))
        })
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: a page.
    Page,
    /// `/metrics`: the metrics, for Prometheus.
    Metrics,
    /// `/status`: the snapshot as JSON.
    Status,
    /// `/connections`: the open connections as JSON.
    Connections,
    /// `/healthz`: whether the daemon is healthy.
    Healthz,
    /// `/readyz`: whether it is ready for clients.
    Readyz,
    /// `/explain`: what the listeners know of one client.
    Explain,
}

impl Route {
    /// All of them.
    pub const ALL: [Route; 7] = [
        Route::Page,
        Route::Metrics,
        Route::Status,
        Route::Connections,
        Route::Healthz,
        Route::Readyz,
        Route::Explain,
    ];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Route::Page => "/",
            Route::Metrics => "/metrics",
            Route::Status => "/status",
            Route::Connections => "/connections",
            Route::Healthz => "/healthz",
            Route::Readyz => "/readyz",
            Route::Explain => "/explain",
        }
    }

    /// The route of a path.
    pub fn of(path: &str) -> Option<Route> {
        Route::ALL.into_iter().find(|route| route.path() == path)
    }

    /// Whether it asks for a sign of life of every worker.
    pub fn pings(self) -> bool {
        matches!(self, Route::Page | Route::Healthz | Route::Readyz)
    }
}
