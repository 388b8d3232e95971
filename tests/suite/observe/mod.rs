//! The HTTP endpoint at which the daemon is observed.

mod browser;
mod faults;
mod health;
mod http;
mod live;
mod metrics;
mod page;
pub(crate) mod status;
mod top;

use std::{net::SocketAddr, time::Duration};

use echod::report::log_event::LogEvent;
use serde_json::Value;

use crate::harness::{Client, Echod, Endpoint, listener};

/// An endpoint at any port, and in a socket file.
pub(crate) const OBSERVE: &str = "[observe]\naddress = [\"127.0.0.1:0\", \"unix:./observe.sock\"]\n";

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A daemon with an endpoint and these listeners; its log has its events.
pub(crate) fn observed(listeners: &str) -> Echod {
    Echod::start_with_events(&format!("{OBSERVE}{listeners}"))
}

/// A listener of each protocol.
pub(crate) fn one_of_each() -> String {
    ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"]
        .map(|protocol| listener(protocol, protocol, ""))
        .concat()
}

/// The socket file of the endpoint.
pub(crate) fn by_file(daemon: &Echod) -> Endpoint {
    Endpoint::Unix(daemon.path("observe.sock"))
}

/// The internet address of the endpoint.
#[track_caller]
pub(crate) fn by_port(daemon: &Echod) -> Endpoint {
    let serving = daemon.wait_event(LogEvent::ObserveServing, |event| {
        event["address"].as_str().is_some_and(|address| address.starts_with("http://"))
    });
    let url = serving["address"].as_str().unwrap();
    let address: SocketAddr = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    Endpoint::Tcp(address)
}

/// Sends these bytes and reads the response to its end.
#[track_caller]
pub(crate) fn exchange(to: &Endpoint, request: &str) -> Reply {
    let client = Client::connect(to);
    client.send(request.as_bytes());
    reply(&client)
}

#[track_caller]
pub(crate) fn reply(client: &Client) -> Reply {
    let text = String::from_utf8(client.rest()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// The response to a GET at the socket file.
#[track_caller]
pub(crate) fn get(daemon: &Echod, path: &str) -> Reply {
    exchange(&by_file(daemon), &format!("GET {path} HTTP/1.1\r\nHost: it\r\n\r\n"))
}

/// What `/status` says.
#[track_caller]
pub(crate) fn status(daemon: &Echod) -> Value {
    let reply = get(daemon, "/status");
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_str(&reply.body).unwrap()
}

/// More time than the endpoint gives a client by default.
pub(crate) const LONGER: Duration = Duration::from_secs(4);
