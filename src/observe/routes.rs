//! Which path tells what.

use super::{
    health,
    http::{HttpRequest, HttpResponse, Status},
    snapshot::Snapshot,
};

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
    /// `/status`: the snapshot as JSON.
    Status,
    /// `/healthz`: whether the daemon is healthy.
    Healthz,
    /// `/readyz`: whether it is ready for clients.
    Readyz,
}

impl Route {
    /// All of them.
    pub const ALL: [Route; 3] = [Route::Status, Route::Healthz, Route::Readyz];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Route::Status => "/status",
            Route::Healthz => "/healthz",
            Route::Readyz => "/readyz",
        }
    }

    /// The route of a path.
    pub fn of(path: &str) -> Option<Route> {
        Route::ALL.into_iter().find(|route| route.path() == path)
    }

    /// Whether it asks for a sign of life of every worker.
    pub fn pings(self) -> bool {
        matches!(self, Route::Healthz | Route::Readyz)
    }

    /// The response, once the daemon was seen. `None` if a later look may tell better: a worker has not responded yet.
    pub fn answer(self, _request: &HttpRequest, seen: &Seen<'_>, is_last: bool) -> Option<HttpResponse> {
        let seen = seen.daemon;
        let judged = |ailments: Vec<String>| match ailments.is_empty() {
            true => HttpResponse::text(Status::Ok, "ok\n"),
            false => HttpResponse::text(Status::Unavailable, ailments.join("\n") + "\n"),
        };
        match self {
            Route::Status => Some(json(seen)),
            Route::Healthz => {
                let ailments = health::ailments(seen);
                (is_last || ailments.is_empty()).then(|| judged(ailments))
            }
            Route::Readyz => {
                let mut unready = health::unready(seen);
                let ailments = health::ailments(seen);
                let is_decided = is_last || ailments.is_empty() || !unready.is_empty();
                is_decided.then(|| {
                    unready.extend(ailments);
                    judged(unready)
                })
            }
        }
    }
}

/// The response to a path that tells nothing.
pub fn nothing_here() -> HttpResponse {
    let paths: Vec<_> = Route::ALL.iter().map(|route| route.path()).collect();
    HttpResponse::text(Status::NotFound, format!("there is nothing here; look at {}\n", paths.join(", ")))
}

/// What a request that is none is told.
pub fn refusal(status: Status) -> &'static str {
    match status {
        Status::MethodNotAllowed => "this endpoint is read-only: GET or HEAD\n",
        Status::TooLarge => "the request is longer than 8 KiB\n",
        _ => "this is no HTTP request\n",
    }
}

fn json(seen: &Snapshot) -> HttpResponse {
    match serde_json::to_string(seen) {
        Ok(body) => {
            let body = body + "\n";
            HttpResponse { status: Status::Ok, kind: "application/json", headers: Vec::new(), body }
        }
        Err(error) => HttpResponse::text(Status::Unavailable, format!("cannot tell the status: {error}\n")),
    }
}
