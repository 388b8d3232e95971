//! Whether connections begin with a header of the PROXY protocol, and which proxies are believed.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Address, Host};

/// Whether connections begin with a header of the PROXY protocol, in which a proxy tells the address of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// No: all bytes are for the service.
    Off,
    /// Yes: a connection without one is refused.
    Required,
    /// Those of trusted proxies may.
    Optional,
}

/// The proxies that are trusted where none are named: those of this machine.
pub fn loopback() -> Arc<[IpNet]> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    [v4.into(), v6.into()].into()
}

/// Whether only this machine can connect to an address.
pub(super) fn is_local(address: &Address) -> bool {
    match address {
        Address::Inet { host: Host::Ip(ip), .. } => ip.to_canonical().is_loopback(),
        Address::Inet { host: Host::Name(name), .. } => name.eq_ignore_ascii_case("localhost"),
        Address::Inet { host: Host::Scoped(..), .. } => false,
        Address::Path(_) | Address::Abstract(_) => true,
    }
}
