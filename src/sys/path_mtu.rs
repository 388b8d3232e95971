//! Whether datagrams may be fragmented on a path with a smaller MTU (`IP_MTU_DISCOVER`, ip(7), and `IPV6_MTU_DISCOVER`, ipv6(7)).
//!
//! An IPv4 packet that may be fragmented needs an identification, by which the receiver reassembles it. Generating one is a
//! hundredth of the kernel's work for a UDP echo. By default (`IP_PMTUDISC_WANT`) routers may not fragment, but the kernel itself
//! does, at the path MTU it knows: it has to number every packet. A packet that is never fragmented needs no identification (RFC
//! 6864, section 4.1). IPv6 numbers fragments only.

use std::{io, os::fd::AsFd};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover, set_ip_mtu_discover,
    set_ipv6_mtu_discover,
};

/// How a socket discovers the MTU of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    v4: Ipv4PathMtuDiscovery,
    /// That of an IPv6 socket. One of both families has both.
    v6: Option<Ipv6PathMtuDiscovery>,
}

impl Discovery {
    /// Routers may not fragment, and the kernel refuses what is longer than the path MTU that it knows (EMSGSIZE).
    pub const NEVER_FRAGMENTED: Discovery =
        Discovery { v4: Ipv4PathMtuDiscovery::DO, v6: Some(Ipv6PathMtuDiscovery::DO) };

    /// Routers may fragment; those of IPv6 never do.
    pub const FRAGMENTED: Discovery =
        Discovery { v4: Ipv4PathMtuDiscovery::DONT, v6: Some(Ipv6PathMtuDiscovery::DONT) };

    /// The present one of `socket`; `None` if it has no IP addresses.
    pub fn of(socket: &impl AsFd) -> Option<Discovery> {
        Some(Discovery { v4: ip_mtu_discover(socket).ok()?, v6: ipv6_mtu_discover(socket).ok() })
    }

    /// Sets it where `socket` has another one.
    pub fn set(self, socket: &impl AsFd) -> io::Result<()> {
        let Some(now) = Discovery::of(socket) else { return Ok(()) };
        if now.v4 != self.v4 {
            set_ip_mtu_discover(socket, self.v4)?;
        }
        let (Some(now), Some(v6)) = (now.v6, self.v6) else { return Ok(()) };
        if now != v6 {
            set_ipv6_mtu_discover(socket, v6)?;
        }
        Ok(())
    }
}

/// Makes the kernel refuse a datagram above the path MTU (EMSGSIZE) instead of fragmenting it. Has no effect if path MTU
/// discovery is off (`ip_no_pmtu_disc`).
pub fn forbid_fragments(socket: &impl AsFd) {
    change(socket, Ipv4PathMtuDiscovery::WANT, Ipv4PathMtuDiscovery::DO);
}

/// Undoes [`forbid_fragments`].
pub fn allow_fragments(socket: &impl AsFd) {
    change(socket, Ipv4PathMtuDiscovery::DO, Ipv4PathMtuDiscovery::WANT);
}

/// Ignores errors: a socket without the option sends as well.
fn change(socket: &impl AsFd, from: Ipv4PathMtuDiscovery, to: Ipv4PathMtuDiscovery) {
    if ip_mtu_discover(socket) == Ok(from) {
        let _ = set_ip_mtu_discover(socket, to);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_is_set_is_taken_back() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else {
                eprintln!("SKIPPED: nothing can be bound to {address}");
                continue;
            };
            let usual = Discovery::of(&socket).unwrap();
            for other in [Discovery::NEVER_FRAGMENTED, Discovery::FRAGMENTED] {
                other.set(&socket).unwrap();
                let now = Discovery::of(&socket).unwrap();
                assert_eq!((now.v4, now.v6), (other.v4, usual.v6.and(other.v6)));
                usual.set(&socket).unwrap();
                assert_eq!(Discovery::of(&socket), Some(usual));
            }
        }
    }

    #[test]
    fn only_the_default_is_changed_and_restored() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else {
                eprintln!("SKIPPED: nothing can be bound to {address}");
                continue;
            };
            let usual = ip_mtu_discover(&socket).unwrap();
            forbid_fragments(&socket);
            let now = ip_mtu_discover(&socket).unwrap();
            assert_eq!(now == Ipv4PathMtuDiscovery::DO, usual == Ipv4PathMtuDiscovery::WANT);
            allow_fragments(&socket);
            assert_eq!(ip_mtu_discover(&socket).unwrap(), usual);
            for other in [Ipv4PathMtuDiscovery::DONT, Ipv4PathMtuDiscovery::PROBE] {
                set_ip_mtu_discover(&socket, other).unwrap();
                forbid_fragments(&socket);
                allow_fragments(&socket);
                assert_eq!(ip_mtu_discover(&socket).unwrap(), other);
            }
        }
    }
}
