//! Tells what reached the server: one line of JSON with the peer, the address that was asked, what a proxy told of its client, and
//! what the kernel noted. Then the connection closes. Input is discarded.

use std::{env, sync::Arc, time::SystemTime};

use jiff::Timestamp;
use rustix::system::uname;
use serde::Serialize;

use super::{
    Next, Service, Session, SessionEvent,
    request::{ProxyInfo, RequestAddress, RequestInfo, Shown, width},
};
use crate::{
    config::{Listener, Protocol},
    sys::credentials::Credentials,
};

/// Bytes that are kept of names, as JSON writes them.
struct Longest {
    listener: usize,
    /// Of a node or a pod.
    place: usize,
}

/// The longest name of a host, in bytes (uname(2)).
const LONGEST_HOSTNAME: usize = 64;

impl Longest {
    /// The answer to a datagram has 1,200 bytes at most, as is documented; that over unix sockets has two of their names beside.
    /// Kubernetes limits the names of nodes and pods to 253 bytes.
    fn of(protocol: Protocol) -> Longest {
        match protocol {
            Protocol::Udp => Longest { listener: 240, place: 253 },
            Protocol::UnixDatagram => Longest { listener: 120, place: 120 },
            _ => Longest { listener: usize::MAX, place: 253 },
        }
    }
}

pub(super) struct Whoami(Arc<Server>);

/// What is the same in every answer.
struct Server {
    listener: String,
    protocol: Protocol,
    place: Place,
    /// The clock; tests replace it.
    now: fn() -> SystemTime,
}

/// Where the server runs.
#[derive(Serialize)]
struct Place {
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
}

impl Place {
    /// Asked for when a listener starts: the sandbox leads nowhere later.
    fn here(longest: &Longest) -> Place {
        let hostname = short(uname().nodename().to_string_lossy().into_owned(), LONGEST_HOSTNAME);
        let variable =
            |name| Some(short(env::var(name).ok()?, longest.place)).filter(|name| !name.is_empty());
        Place { hostname, node: variable("ECHOD_NODE"), pod: variable("ECHOD_POD") }
    }
}

/// A name of `longest` bytes at most, as JSON writes them.
fn short(mut name: String, longest: usize) -> String {
    let mut length = 0;
    // A character that does not fit is left out as a whole.
    let mut fits = |c: char| {
        length += width(c);
        length <= longest
    };
    name.truncate(name.chars().take_while(|c| fits(*c)).map(char::len_utf8).sum());
    name
}

/// The answer, in its order.
#[derive(Serialize)]
struct Line<'a> {
    service: &'static str,
    listener: &'a str,
    protocol: Protocol,
    #[serde(skip_serializing_if = "RequestAddress::is_unnamed")]
    peer: &'a RequestAddress<'a>,
    #[serde(skip_serializing_if = "RequestAddress::is_unnamed")]
    local: &'a RequestAddress<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a ProxyInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dscp: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ecn: Option<u8>,
    received: Shown<Received>,
    received_by: Clock,
    server: &'a Place,
}

/// The process at the other end of a unix socket.
#[derive(Serialize)]
struct Process {
    /// Missing for a process in another PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    uid: u32,
    gid: u32,
}

/// Whose clock says when the request was received.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Clock {
    /// The kernel's, as the datagram arrived.
    Kernel,
    /// This program's, as it made the answer.
    Server,
}

/// A time in the form of RFC 3339, with nanoseconds.
struct Received(Timestamp);

impl std::fmt::Display for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.9}", self.0)
    }
}

impl Server {
    fn line<'a>(&'a self, info: &'a RequestInfo<'a>) -> Line<'a> {
        let of_kernel = info.notes.stamp.and_then(|stamp| Timestamp::from_nanosecond(stamp.into()).ok());
        // A clock outside the years -9999 to 9999 gives the last date that the calendar has.
        let of_server = || Timestamp::try_from((self.now)()).unwrap_or(Timestamp::MAX);
        let process = |Credentials { pid, uid, gid }| Process { pid: (pid != 0).then_some(pid), uid, gid };
        Line {
            service: "whoami",
            listener: &self.listener,
            protocol: self.protocol,
            peer: &info.peer,
            local: &info.local,
            proxy: info.proxy.as_ref(),
            process: info.process.or(info.notes.sender).map(process),
            ttl: info.notes.hops,
            dscp: info.notes.traffic_class.map(|class| class >> 2),
            ecn: info.notes.traffic_class.map(|class| class & 3),
            received: Shown(Received(of_kernel.unwrap_or_else(of_server))),
            received_by: if of_kernel.is_some() { Clock::Kernel } else { Clock::Server },
            server: &self.place,
        }
    }
}

impl Whoami {
    pub(super) fn new(listener: &Listener) -> Self {
        let protocol = listener.protocol;
        let longest = Longest::of(protocol);
        let (listener, place) = (short(listener.name.clone(), longest.listener), Place::here(&longest));
        Whoami(Arc::new(Server { listener, protocol, place, now: SystemTime::now }))
    }
}

impl Service for Whoami {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Introduction { server: Arc::clone(&self.0), line: Vec::new(), sent: 0 })
    }

    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
        self.described_datagram(buffer, request, &RequestInfo::default())
    }

    fn described_datagram(
        &self,
        buffer: &mut [u8],
        _request: usize,
        info: &RequestInfo<'_>,
    ) -> Option<usize> {
        let (line, room) = (self.0.line(info), buffer.len());
        let mut rest = &mut *buffer;
        // What is known of a datagram is a small part of the largest one, and fits a padded request.
        serde_json::to_writer(&mut rest, &line).ok()?;
        let end = room - rest.len();
        *buffer.get_mut(end)? = b'\n';
        Some(end + 1)
    }
}

/// The line for one connection. It may be longer than the buffer of its transport.
struct Introduction {
    server: Arc<Server>,
    line: Vec<u8>,
    sent: usize,
}

impl Session for Introduction {
    fn introduce(&mut self, info: &RequestInfo<'_>) {
        // Fails only if a value cannot be written as JSON, and each of these can.
        self.line = serde_json::to_vec(&self.server.line(info)).unwrap_or_default();
        self.line.push(b'\n');
    }

    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Opened | SessionEvent::Drained => {
                let rest = &self.line[self.sent..];
                let n = rest.len().min(buffer.len());
                buffer[..n].copy_from_slice(&rest[..n]);
                self.sent += n;
                if self.sent < self.line.len() { Next::Send(n) } else { Next::SendThenClose(n) }
            }
            SessionEvent::Received(_) => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests;
