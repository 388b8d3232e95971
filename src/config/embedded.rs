//! IPv4 addresses inside of IPv6 ones. Every decision about an address begins here, so that none of them takes a client for two.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address that an IPv6 one stands for, `::ffff:192.0.2.1` or the old `::192.0.2.1`; any other one as it is.
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 address that an IPv6 one stands for.
pub fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = v6.to_bits();
    let is_own = bits <= 1; // `::` and `::1` mean themselves.
    let is_mapped = bits >> 32 == 0xffff;
    let is_compatible = bits >> 32 == 0 && !is_own;
    (is_mapped || is_compatible).then(|| Ipv4Addr::from_bits(bits as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unwrapped_once() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::192.0.2.1", "192.0.2.1"),
            ("::ffff:0.0.0.0", "0.0.0.0"),
            ("::2", "0.0.0.2"),
            ("::", "::"),
            ("::1", "::1"),
            ("::1:0:0:0", "::1:0:0:0"),
            ("::fffe:192.0.2.1", "::fffe:192.0.2.1"),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(plain(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
