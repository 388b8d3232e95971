//! What an address says about who could have sent from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// One machine's, as far as the address tells.
    Unicast,
    /// This machine's: nothing with such an address comes from a network (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
    Loopback,
    /// Nobody's: multicast, unspecified, `0.0.0.0/8`, or reserved with the broadcast address among it.
    Nobody,
}

/// The IPv4 address that an IPv6 one stands for, `::ffff:192.0.2.1` or the old `::192.0.2.1`; any other one as it is.
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = v6.to_bits();
    let is_own = bits <= 1; // `::` and `::1` mean themselves.
    let is_mapped = bits >> 32 == 0xffff;
    let is_compatible = bits >> 32 == 0 && !is_own;
    (is_mapped || is_compatible).then(|| Ipv4Addr::from_bits(bits as u32))
}

/// The kind of a [`plain`] address.
pub(super) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => match v4.octets()[0] {
            0 | 224.. => Class::Nobody,
            127 => Class::Loopback,
            _ => Class::Unicast,
        },
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_multicast() => Class::Nobody,
        IpAddr::V6(v6) if v6.is_loopback() => Class::Loopback,
        IpAddr::V6(_) => Class::Unicast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_kind() {
        for (kind, addresses) in [
            (Class::Unicast, "1.0.0.0 126.255.255.255 128.0.0.1 192.0.2.1 223.255.255.255 10.0.0.255"),
            (Class::Unicast, "fe80::1 2001:db8::1 fc00::1 1::1 ::1:0:0:0 ::ffff:192.0.2.1 ::192.0.2.1"),
            (Class::Loopback, "127.0.0.1 127.0.0.0 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1"),
            (Class::Nobody, "0.0.0.0 0.255.255.255 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255"),
            (
                Class::Nobody,
                ":: ff02::1 ffff::1 ff00:: ::ffff:0.0.0.0 ::ffff:255.255.255.255 ::224.0.0.1 ::2",
            ),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(class(plain(address.parse().unwrap())), kind, "{address}");
            }
        }
    }
}
