//! Which path tells what.

use serde::Serialize;

use super::{
    connections,
    explain::ClientQuery,
    health,
    http::{HttpRequest, HttpResponse, Status},
    metrics::{self, Format},
    page,
    requests::{Route, Seen},
    snapshot::Snapshot,
};

/// How many connections `/connections` lists; it tells how many there are.
const MOST_CONNECTIONS: usize = 200;

/// The client that is asked about, if the route is about one.
///
/// # Errors
/// What is wrong with the query, and what to write.
pub fn client(route: Route, request: &HttpRequest) -> Result<Option<ClientQuery>, String> {
    match route {
        Route::Explain => ClientQuery::parse(&request.query).map(Some),
        _ => Ok(None),
    }
}

/// The response about a client.
fn explain(client: &ClientQuery, seen: &Snapshot) -> Option<HttpResponse> {
    let (_, answer) = seen.clients.iter().find(|(query, _)| query == client)?;
    Some(match &client.listener {
        Some(name) if !seen.listeners.iter().any(|listener| listener.name == *name) => {
            let names: Vec<_> =
                seen.listeners.iter().map(|listener| format!("\"{}\"", listener.name)).collect();
            let (name, names) = (name.escape_debug(), names.join(", "));
            let text = format!("there is no listener \"{name}\"; ask about one of {names}\n");
            HttpResponse::text(Status::NotFound, text)
        }
        _ => json(answer),
    })
}

/// The response, once the daemon was seen. `None` if a later look may tell better: a worker has not responded yet.
pub fn answer(
    route: Route,
    request: &HttpRequest,
    client: Option<&ClientQuery>,
    seen: &Seen<'_>,
    is_last: bool,
) -> Option<HttpResponse> {
    let daemon = seen.daemon;
    let judged = |ailments: Vec<String>| match ailments.is_empty() {
        true => HttpResponse::text(Status::Ok, "ok\n"),
        false => HttpResponse::text(Status::Unavailable, ailments.join("\n") + "\n"),
    };
    match route {
        Route::Page => {
            // Without a query there is nothing to explain.
            let paths = Route::ALL.iter().filter(|route| **route != Route::Explain).map(|route| route.path());
            let is_decided = is_last || health::ailments(daemon).is_empty();
            is_decided.then(|| page::page(daemon, paths))
        }
        Route::Metrics => Some(metrics_in(Format::accepted(&request.accept), seen)),
        Route::Status => Some(json(daemon)),
        Route::Connections => Some(match connections::look(&daemon.listeners, MOST_CONNECTIONS) {
            Ok(found) => json(&found),
            Err(error) => HttpResponse::text(
                Status::Unavailable,
                format!("the kernel does not list connections: {error}\n"),
            ),
        }),
        Route::Explain => explain(client?, daemon),
        Route::Healthz => {
            let ailments = health::ailments(daemon);
            (is_last || ailments.is_empty()).then(|| judged(ailments))
        }
        Route::Readyz => {
            let mut unready = health::unready(daemon);
            let ailments = health::ailments(daemon);
            let is_decided = is_last || ailments.is_empty() || !unready.is_empty();
            is_decided.then(|| {
                unready.extend(ailments);
                judged(unready)
            })
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

fn metrics_in(format: Format, seen: &Seen<'_>) -> HttpResponse {
    match metrics::encode(seen, format) {
        Ok(body) => HttpResponse { status: Status::Ok, kind: format.kind(), headers: Vec::new(), body },
        Err(error) => HttpResponse::text(Status::Unavailable, format!("cannot tell the metrics: {error}\n")),
    }
}

fn json(value: &impl Serialize) -> HttpResponse {
    match serde_json::to_string(value) {
        Ok(body) => {
            let body = body + "\n";
            HttpResponse { status: Status::Ok, kind: "application/json", headers: Vec::new(), body }
        }
        Err(error) => HttpResponse::text(Status::Unavailable, format!("cannot tell it: {error}\n")),
    }
}
