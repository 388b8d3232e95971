//! The interfaces and addresses of the machine at one moment, as the echo in the kernel needs to know them.

use std::{io, net::IpAddr};

use ipnet::Ipv4Net;

use crate::sys::rtnetlink::{self, Interface, InterfaceAddress, ReversePathFilters};

/// Kinds of interfaces that the program was tried on; a physical one has none. Others may carry what it does not see, such as the tag
/// of a VLAN.
const KINDS: [&str; 3] = ["", "veth", "bridge"];

/// What is known of the network.
#[derive(Debug)]
pub(super) struct NetworkView {
    /// Those where the kernel may echo.
    pub(super) interfaces: Vec<Interface>,
    addresses: Vec<InterfaceAddress>,
    filters: ReversePathFilters,
}

impl NetworkView {
    /// Asks the kernel.
    pub(super) fn read() -> io::Result<NetworkView> {
        let mut interfaces = rtnetlink::interfaces()?;
        interfaces.retain(is_usable);
        Ok(NetworkView {
            interfaces,
            addresses: rtnetlink::addresses()?,
            filters: ReversePathFilters::read()?,
        })
    }

    /// The addresses of an interface that are in use.
    pub(super) fn of(&self, interface: &Interface) -> impl Iterator<Item = &InterfaceAddress> {
        self.addresses.iter().filter(|address| address.is_used && address.interface == interface.index)
    }

    /// Whether the kernel looks at the source of IPv4 packets there: only sources in the interface's own networks are sure to pass.
    pub(super) fn looks_at_sources(&self, interface: &Interface) -> bool {
        self.filters.looks_at(interface.index)
    }

    /// Addresses that no client of another machine has: those of this one, and those of broadcasts.
    pub(super) fn no_clients(&self) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for own in &self.addresses {
            all.push(own.address);
            all.extend(own.broadcast.map(IpAddr::V4));
            if let (IpAddr::V4(v4), prefix) = own.network
                && prefix < 31
                && let Ok(network) = Ipv4Net::new(v4, prefix)
            {
                all.extend([network.network(), network.broadcast()].map(IpAddr::V4));
            }
        }
        all
    }
}

/// Whether an interface is the loopback interface.
pub(super) fn is_loopback(interface: &Interface) -> bool {
    interface.hardware == libc::ARPHRD_LOOPBACK
}

fn is_usable(interface: &Interface) -> bool {
    let is_ethernet = interface.hardware == libc::ARPHRD_ETHER && KINDS.contains(&interface.kind.as_str());
    interface.is_up && !interface.has_master && (is_ethernet || is_loopback(interface))
}
