//! Ports for those who cannot let the kernel choose.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use socket2::{Domain, Socket, Type};

/// The kernel gives higher ones to those who want any (ip(7), `ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 30_000..32_700;

/// A port that nobody has at any IPv4 address, and that nobody who wants any port is given.
///
/// The port of a socket at 127.0.0.1 may be that of somebody else at 127.0.0.2, or of a client of `::1`, even of one that has closed
/// a minute ago. So whoever is to be bound to all addresses later needs one of these from the start.
pub(crate) fn port_of_nobody(protocol: &str) -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let kind = if protocol == "tcp" { Type::STREAM } else { Type::DGRAM };
    let is_free = |port: &u16| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
        Socket::new(Domain::IPV4, kind, None).unwrap().bind(&address.into()).is_ok()
    };
    // Suites that run side by side begin elsewhere.
    let own = std::process::id() as usize * 100;
    let next = || PORTS.start + ((own + usize::from(TAKEN.fetch_add(1, Relaxed))) % PORTS.len()) as u16;
    PORTS.map(|_| next()).find(is_free).expect("a port that is free")
}
