//! The open connections of all listeners, as the kernel lists them. No mode keeps such a list, and none is asked: any user can
//! read this one, for threads, loops and forked processes alike, and it costs the daemon nothing.
//!
//! Behind a proxy the kernel knows the proxy only, and a daemon in another network namespace is not seen.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use super::snapshot::ListenerView;
use crate::sys::{
    inet_diag::{self, InetConnection},
    unix_diag::{self, UnixConnection},
};

/// How long data may wait for a peer before that is said to be not reading, in milliseconds.
const STUCK: u32 = 1000;

/// The connections at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Connections {
    /// How many there are; not all of them may be listed.
    pub total: usize,
    /// Those that are listed.
    pub listed: Vec<ListedConnection>,
}

/// One connection. What the kernel does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ListedConnection {
    /// The name of its listener.
    pub listener: String,
    /// The peer: an address with a port, or the inode of a unix socket.
    pub peer: String,
    /// Whether neither end has closed.
    pub open: bool,
    /// Time since the last byte in either direction, in milliseconds.
    pub idle_ms: Option<u32>,
    /// Bytes that were received.
    pub received: Option<u64>,
    /// Bytes that were sent and acknowledged.
    pub sent: Option<u64>,
    /// The round-trip time, in microseconds.
    pub rtt_us: Option<u32>,
    /// Segments that were sent again.
    pub retransmits: Option<u32>,
    /// Bytes that the daemon has not read.
    pub unread: u32,
    /// Bytes that the peer has not acknowledged or, at a unix socket, not read.
    pub unsent: u32,
    /// Whether data waits for a peer that takes none.
    pub not_reading: bool,
    /// The user of the peer of a unix socket.
    pub uid: Option<u32>,
}

/// Looks at the connections of `listeners`, and lists at most `limit` of them.
///
/// # Errors
/// The kernel does not list them.
pub fn look(listeners: &[ListenerView], limit: usize) -> io::Result<Connections> {
    let mut found = Connections::default();
    let mut add = |connection: ListedConnection| {
        found.total += 1;
        if found.listed.len() < limit {
            found.listed.push(connection);
        }
    };
    tcp(listeners, &mut add)?;
    unix(listeners, &mut add)?;
    Ok(found)
}

fn tcp(listeners: &[ListenerView], add: &mut impl FnMut(ListedConnection)) -> io::Result<()> {
    // By port; several listeners may have one at different addresses.
    let mut served: BTreeMap<u16, Vec<(SocketAddr, &str)>> = BTreeMap::new();
    for (url, listener) in urls(listeners, "tcp") {
        // A zone is not part of an address that the kernel lists.
        if let Some(address) = url.strip_prefix("tcp://").and_then(|text| without_zone(text).parse().ok()) {
            let address: SocketAddr = address;
            served.entry(address.port()).or_default().push((address, listener));
        }
    }
    let ports: Vec<u16> = served.keys().copied().collect();
    // The kernel walks all connections for each dump.
    let asked = if ports.len() <= 4 { ports } else { vec![0] };
    for port in asked {
        inet_diag::connections(port, |found| {
            let at = served.get(&found.local.port());
            if let Some(listener) = at.and_then(|served| listener_of(served, found.local)) {
                add(of_tcp(listener, &found));
            }
        })?;
    }
    Ok(())
}

/// The listener that serves this address: the one that is bound to it, or else to the wildcard.
fn listener_of<'l>(served: &[(SocketAddr, &'l str)], local: SocketAddr) -> Option<&'l str> {
    let bound = served.iter().find(|(address, _)| address.ip().to_canonical() == local.ip());
    let wide = || {
        let same = |address: &SocketAddr| address.is_ipv4() == local.is_ipv4();
        let all = || served.iter().filter(|(address, _)| address.ip().is_unspecified());
        all().find(|(address, _)| same(address)).or_else(|| all().find(|(address, _)| address.is_ipv6()))
    };
    bound.or_else(wide).map(|(_, listener)| *listener)
}

fn without_zone(text: &str) -> String {
    match (text.find('%'), text.find(']')) {
        (Some(zone), Some(end)) if zone < end => format!("{}{}", &text[..zone], &text[end..]),
        _ => text.to_owned(),
    }
}

fn of_tcp(listener: &str, found: &InetConnection) -> ListedConnection {
    let figures = found.figures;
    ListedConnection {
        listener: listener.to_owned(),
        peer: found.peer.to_string(),
        open: found.is_open,
        idle_ms: figures.map(|figures| figures.since_sent_ms.min(figures.since_received_ms)),
        received: figures.map(|figures| figures.bytes_received),
        sent: figures.map(|figures| figures.bytes_acked),
        rtt_us: figures.map(|figures| figures.rtt_us),
        retransmits: figures.map(|figures| figures.retransmits),
        unread: found.receive_queue,
        unsent: found.send_queue,
        not_reading: found.send_queue > 0 && figures.is_some_and(|figures| figures.since_sent_ms >= STUCK),
        uid: None,
    }
}

fn unix(listeners: &[ListenerView], add: &mut impl FnMut(ListedConnection)) -> io::Result<()> {
    // An accepted socket has the name of its listener.
    let of_kind = |scheme: &'static str| {
        urls(listeners, scheme)
            .filter_map(move |(url, listener)| {
                Some((name_of(url.strip_prefix(scheme)?.strip_prefix(':')?), listener))
            })
            .collect()
    };
    // Abstract names of sockets of different kinds may be the same.
    let [streams, records]: [HashMap<Vec<u8>, &str>; 2] = ["unix", "unix-seqpacket"].map(of_kind);
    if streams.is_empty() && records.is_empty() {
        return Ok(());
    }
    let served = |found: &UnixConnection| {
        let served = if found.keeps_records { &records } else { &streams };
        found.name.as_ref().and_then(|name| served.get(name).copied())
    };
    let (mut accepted, mut others) = (Vec::new(), HashMap::new());
    unix_diag::connections(|found| match served(&found) {
        Some(listener) => accepted.push((listener, found)),
        None => _ = others.insert(found.inode, found),
    })?;
    for (listener, found) in accepted {
        let peer: Option<&UnixConnection> = found.peer.and_then(|peer| others.get(&peer));
        add(ListedConnection {
            listener: listener.to_owned(),
            peer: found.peer.map_or_else(|| "closed".to_owned(), |inode| format!("inode {inode}")),
            open: peer.is_some(),
            unread: found.receive_queue,
            unsent: peer.map_or(0, |peer| peer.receive_queue),
            uid: peer.and_then(|peer| peer.uid),
            ..ListedConnection::default()
        });
    }
    Ok(())
}

/// The name of a socket as in `sun_path`.
fn name_of(written: &str) -> Vec<u8> {
    match written.strip_prefix('@') {
        Some(name) => [b"\0", name.as_bytes()].concat(),
        None => written.as_bytes().to_vec(),
    }
}

/// The URLs of all listeners of a protocol, with their names.
fn urls<'l>(listeners: &'l [ListenerView], protocol: &'l str) -> impl Iterator<Item = (&'l str, &'l str)> {
    let fitting = listeners.iter().filter(move |listener| listener.protocol == protocol);
    fitting.flat_map(|listener| listener.addresses.iter().map(|url| (url.as_str(), listener.name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_an_address_is_the_one_that_is_bound_to_it() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let served = [(at("0.0.0.0:7"), "v4"), (at("127.0.0.2:7"), "own"), (at("[::]:7"), "v6")];
        for (local, listener) in [("127.0.0.1:7", "v4"), ("127.0.0.2:7", "own"), ("[::1]:7", "v6")] {
            assert_eq!(listener_of(&served, at(local)), Some(listener), "{local}");
        }
        assert_eq!(listener_of(&served[2..], at("127.0.0.1:7")), Some("v6"), "it takes both families");
        assert_eq!(listener_of(&served[1..2], at("127.0.0.1:7")), None);
    }

    #[test]
    fn names_are_as_the_kernel_has_them() {
        assert_eq!(without_zone("[fe80::1%eth0]:7"), "[fe80::1]:7");
        assert_eq!(without_zone("127.0.0.1:7"), "127.0.0.1:7");
        assert_eq!(name_of("@x"), b"\0x");
        assert_eq!(name_of("/run/x"), b"/run/x");
    }
}
