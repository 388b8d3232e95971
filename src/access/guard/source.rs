//! What an address says about its possible senders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Classes of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An address of one machine, as far as it shows.
    Unicast,
    /// An address of this machine: none comes from a network (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
    Loopback,
    /// An address that no machine has: multicast, unspecified, `0.0.0.0/8`, or the broadcast address.
    Martian,
}

/// A [plain](crate::config::embedded::plain) address of a type known to the compiler: converting it to an [`IpAddr`]
/// and back for each check would take longer than all the checks.
pub trait PlainAddress: Copy + Into<IpAddr> {
    /// The class of the address.
    fn class(self) -> Class;

    /// The IPv4 address, if it is one.
    fn as_v4(self) -> Option<Ipv4Addr>;
}

impl PlainAddress for Ipv4Addr {
    fn class(self) -> Class {
        match self.octets()[0] {
            0 | 224..=239 => Class::Martian,
            127 => Class::Loopback,
            // `240.0.0.0/4` is reserved, but in use.
            _ if self.is_broadcast() => Class::Martian,
            _ => Class::Unicast,
        }
    }

    fn as_v4(self) -> Option<Ipv4Addr> {
        Some(self)
    }
}

impl PlainAddress for Ipv6Addr {
    fn class(self) -> Class {
        match self.is_unspecified() || self.is_multicast() {
            true => Class::Martian,
            false if self.is_loopback() => Class::Loopback,
            false => Class::Unicast,
        }
    }

    fn as_v4(self) -> Option<Ipv4Addr> {
        None
    }
}

impl PlainAddress for IpAddr {
    fn class(self) -> Class {
        match self {
            IpAddr::V4(v4) => v4.class(),
            IpAddr::V6(v6) => v6.class(),
        }
    }

    fn as_v4(self) -> Option<Ipv4Addr> {
        match self {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::embedded::plain;

    #[test]
    fn addresses_have_a_kind() {
        for (kind, addresses) in [
            (Class::Unicast, "1.0.0.0 126.255.255.255 128.0.0.1 192.0.2.1 223.255.255.255 10.0.0.255"),
            (Class::Unicast, "240.0.0.0 240.0.0.1 255.255.255.254 ::ffff:250.1.2.3 ::250.1.2.3"),
            (Class::Unicast, "fe80::1 2001:db8::1 fc00::1 1::1 ::1:0:0:0 ::ffff:192.0.2.1 ::192.0.2.1"),
            (Class::Loopback, "127.0.0.1 127.0.0.0 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1"),
            (Class::Martian, "0.0.0.0 0.255.255.255 224.0.0.1 239.255.255.255 255.255.255.255"),
            (
                Class::Martian,
                ":: ff02::1 ffff::1 ff00:: ::ffff:0.0.0.0 ::ffff:255.255.255.255 ::224.0.0.1 ::2",
            ),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(plain(address.parse().unwrap()).class(), kind, "{address}");
            }
        }
    }
}
