//! The interfaces and addresses of the machine at one moment, as the echo in the kernel needs to know them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;

use crate::sys::rtnetlink::{self, Interface, InterfaceAddress, ReversePathFilters};

/// Kinds of interfaces that the program was tried on; a physical one has none. Others may carry what it does not see, such as the tag
/// of a VLAN.
const KINDS: [&str; 3] = ["", "veth", "bridge"];

/// What is known of the network.
#[derive(Debug)]
pub(super) struct NetworkView {
    interfaces: Vec<Interface>,
    addresses: Vec<InterfaceAddress>,
    filters: ReversePathFilters,
}

impl NetworkView {
    /// Asks the kernel.
    pub(super) fn read() -> io::Result<NetworkView> {
        Ok(NetworkView {
            interfaces: rtnetlink::interfaces()?,
            addresses: rtnetlink::addresses()?,
            filters: ReversePathFilters::read()?,
        })
    }

    /// The interfaces where the kernel may echo.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(|interface| interface.is_up && is_usable(interface))
    }

    /// The addresses of an interface that are in use.
    pub(super) fn of(&self, interface: &Interface) -> impl Iterator<Item = &InterfaceAddress> {
        self.addresses.iter().filter(|address| address.is_used && address.interface == interface.index)
    }

    /// The name of an interface.
    pub(super) fn name(&self, index: u32) -> Option<&str> {
        let found = self.interfaces.iter().find(|interface| interface.index == index);
        found.map(|interface| interface.name.as_str())
    }

    /// Whether the kernel looks at the source of IPv4 packets there: only sources in the interface's own networks are sure to pass.
    pub(super) fn looks_at_sources(&self, interface: &Interface) -> bool {
        self.filters.looks_at(interface.index)
    }

    /// Addresses that no client of another machine has: those of this one, and those of broadcasts.
    pub(super) fn no_clients(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().flat_map(|own| {
            let network = match own.network {
                (IpAddr::V4(v4), prefix) if prefix < 31 => Ipv4Net::new(v4, prefix).ok(),
                _ => None,
            };
            let ends = network.map(|network| [network.network(), network.broadcast()]).into_iter().flatten();
            let v4: Vec<Ipv4Addr> = own.broadcast.into_iter().chain(ends).collect();
            std::iter::once(own.address).chain(v4.into_iter().map(IpAddr::V4))
        })
    }
}

/// Whether an interface is the loopback interface.
pub(super) fn is_loopback(interface: &Interface) -> bool {
    interface.hardware == libc::ARPHRD_LOOPBACK
}

fn is_usable(interface: &Interface) -> bool {
    let is_ethernet = interface.hardware == libc::ARPHRD_ETHER && KINDS.contains(&interface.kind.as_str());
    !interface.has_master && (is_ethernet || is_loopback(interface))
}
