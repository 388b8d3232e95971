//! Whether datagrams may be fragmented on a path with a smaller MTU (`IP_MTU_DISCOVER`, ip(7)).
//!
//! An IPv4 packet that may be fragmented needs an identification, by which the receiver reassembles it. Generating one is a
//! hundredth of the kernel's work for a UDP echo. By default (`IP_PMTUDISC_WANT`) routers may not fragment, but the kernel itself
//! does, at the path MTU it knows: it has to number every packet. A packet that is never fragmented needs no identification (RFC
//! 6864, section 4.1). IPv6 numbers fragments only.

use std::os::fd::AsFd;

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu_discover, set_ip_mtu_discover};

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
