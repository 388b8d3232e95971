//! The interfaces and addresses of the machine at one moment, as the echo in the kernel needs to know them.

use std::{io, net::IpAddr};

use ipnet::Ipv4Net;

use crate::sys::rtnetlink::{self, Interface, InterfaceAddress, Ipv4Route, ReversePathFilters, RouteTable};

/// Kinds of interfaces that the program was tried on; a physical one has none. Others may carry what it does not see, such as the tag
/// of a VLAN.
const KINDS: [&str; 3] = ["", "veth", "bridge"];

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
    pub(super) fn sure_networks(&self, interface: &Interface) -> Vec<(IpAddr, u8)> {
        let is_sure = |network: &(IpAddr, u8)| {
            let (Some(routes), (IpAddr::V4(address), prefix)) = (&self.routes, *network) else {
                return false;
            };
            let Ok(network) = Ipv4Net::new(address, prefix).map(|network| network.trunc()) else {
                return false;
            };
            let leads_there =
                |route: &Ipv4Route| route.kind == libc::RTN_UNICAST && route.interface == interface.index;
            routes.iter().any(|route| route.network == network)
                && routes.iter().filter(|route| network.contains(&route.network)).all(leads_there)
        };
        self.of(interface).map(|own| own.network).filter(is_sure).collect()
    }

    /// Addresses that no client of another machine has: those of this one, and those of broadcasts.
    pub(super) fn no_clients(&self) -> Vec<IpAddr> {
        let mut all = self.routed.clone();
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
