//! The interfaces and addresses of the machine at one moment, as the echo in the kernel needs to know them.

use std::{io, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::sys::rtnetlink::{
    self, Interface, InterfaceAddress, InterfaceKind, Ipv4Route, ReversePathFilters, RouteTable,
};

/// So many routes are looked at, so that a change of the network does not take long.
const MOST_ROUTES: usize = 4096;

/// What is known of the network.
#[derive(Debug)]
pub(super) struct NetworkView {
    /// Those where the kernel may echo.
    pub(super) interfaces: Vec<Interface>,
    addresses: Vec<InterfaceAddress>,
    filters: ReversePathFilters,
    /// Addresses that only routes say are this machine's.
    routed: Vec<IpAddr>,
    /// The ways of IPv4 packets to others, if they are known and matter.
    routes: Option<Vec<Ipv4Route>>,
}

impl NetworkView {
    /// Asks the kernel.
    pub(super) fn read() -> io::Result<NetworkView> {
        let mut interfaces = rtnetlink::interfaces()?;
        interfaces.retain(is_usable);
        let (addresses, filters) = (rtnetlink::addresses()?, ReversePathFilters::read()?);
        let local = rtnetlink::routes(RouteTable::Local, usize::MAX)?.unwrap_or_default();
        let is_network =
            |route: &&Ipv4Route| route.network.prefix_len() < 32 && !route.network.addr().is_loopback();
        if let Some(Ipv4Route { network, .. }) = local.iter().find(is_network) {
            // The kernel would drop what comes from there, as from any address of its own.
            return Err(io::Error::other(format!(
                "all addresses of {network} are this machine's (ip route show table local)"
            )));
        }
        let look_at_routes = interfaces.iter().any(|interface| filters.looks_at(interface.index));
        let routes = match look_at_routes && rtnetlink::has_plain_rules()? {
            true => rtnetlink::routes(RouteTable::Main, MOST_ROUTES)?,
            false => None,
        };
        let routed = local.iter().map(|route| route.network.addr().into()).collect();
        Ok(NetworkView { interfaces, addresses, filters, routed, routes })
    }

    /// The addresses of an interface that are in use.
    pub(super) fn of(&self, interface: &Interface) -> impl Iterator<Item = &InterfaceAddress> {
        self.addresses.iter().filter(|address| address.is_used && address.interface == interface.index)
    }

    /// Whether the kernel looks at the source of IPv4 packets there: only sources in the interface's own networks are sure to pass.
    pub(super) fn looks_at_sources(&self, interface: &Interface) -> bool {
        self.filters.looks_at(interface.index)
    }

    /// The IPv4 networks of an interface whose sources pass there, although the kernel looks at them: the only way back to each of their
    /// addresses is by the interface.
    pub(super) fn sure_networks(&self, interface: &Interface) -> impl Iterator<Item = Ipv4Net> {
        self.of(interface).filter_map(move |own| match own.network {
            IpNet::V4(network) if self.is_sure(network, interface) => Some(network),
            _ => None,
        })
    }

    fn is_sure(&self, network: Ipv4Net, interface: &Interface) -> bool {
        let Some(routes) = &self.routes else { return false };
        let mut is_there = false;
        for route in routes.iter().filter(|route| network.contains(&route.network)) {
            if route.kind != libc::RTN_UNICAST || route.interface != interface.index {
                return false;
            }
            is_there |= route.network == network;
        }
        is_there
    }

    /// Addresses that no client of another machine has: those of this one, and those of broadcasts.
    pub(super) fn no_clients(&self) -> Vec<IpAddr> {
        let mut all = self.routed.clone();
        for own in &self.addresses {
            all.push(own.address);
            all.extend(own.broadcast.map(IpAddr::V4));
            if let IpNet::V4(network) = own.network
                && network.prefix_len() < 31
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

/// Whether the program was tried on such an interface. Others may carry what it does not see, such as the tag of a VLAN.
fn is_usable(interface: &Interface) -> bool {
    let is_ethernet = interface.hardware == libc::ARPHRD_ETHER && interface.kind != InterfaceKind::Other;
    interface.is_up && !interface.has_master && (is_ethernet || is_loopback(interface))
}
