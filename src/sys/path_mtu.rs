//! Whether what a socket sends may be cut up where its way is too narrow for it (`IP_MTU_DISCOVER`, ip(7)).
//!
//! A packet that may be needs a number by which its pieces are put together again, and making one is a hundredth of the work that an
//! echo of UDP is for the kernel. By default (`IP_PMTUDISC_WANT`) routers may not cut anything up, and the kernel itself does it with
//! what it knows to be too long: so it has to number them all. One that nobody may cut up needs no number (RFC 6864, section 4.1).
//! IPv6 numbers pieces only.

use std::os::fd::AsFd;

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu_discover, set_ip_mtu_discover};

/// Has the kernel refuse (EMSGSIZE) what is too long for its way. Where nothing is found out about ways (`ip_no_pmtu_disc`), that
/// stays as it is.
pub fn forbid_fragments(socket: &impl AsFd) {
    change(socket, Ipv4PathMtuDiscovery::WANT, Ipv4PathMtuDiscovery::DO);
}

/// Takes [`forbid_fragments`] back.
pub fn allow_fragments(socket: &impl AsFd) {
    change(socket, Ipv4PathMtuDiscovery::DO, Ipv4PathMtuDiscovery::WANT);
}

/// A socket that does not have the option sends as well without.
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
    fn only_what_is_usual_is_changed_and_changed_back() {
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
