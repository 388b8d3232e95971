//! A listener for which the kernel echoes: where, and with which rules.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    fit::insists,
    maps::{self, LOOPBACK, Maps, NetworkKey, NetworkList, ON_LINK, PORT_WORDS, REMEMBERS, TRUSTS},
    network::{NetworkView, is_loopback},
    places::PlaceTable,
};
use crate::{
    access::guard::{self, AddressScope},
    config::{self, embedded::plain},
    socket::{address::Peer, listener::Listener},
    sys::{interface_index, rtnetlink::Interface},
};

/// What is served in a slot.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    /// Whether it is not to be served without the kernel.
    pub(super) insists: bool,
    sites: Vec<Site>,
    /// Its networks in the map.
    networks: Vec<NetworkKey>,
    /// Ports that it does not answer, whatever the daemon listens at.
    denied: Vec<u64>,
    /// Those in the map.
    ports: Vec<u64>,
    /// Names of the interfaces where the kernel answers for it, and whether that was told.
    pub(super) interfaces: Option<Vec<String>>,
}

/// An address that a socket is bound to.
#[derive(Debug)]
struct Site {
    scope: AddressScope,
    /// The number of the interface that it is bound to, or 0.
    device: u32,
    /// The loopback address that it is, if it is one.
    local: Option<IpAddr>,
    port: u16,
    v4: bool,
    v6: bool,
}

impl Served {
    /// What is served of a listener with these sockets.
    pub(super) fn new(listener: &config::Listener, sockets: &[Listener]) -> Served {
        Served {
            name: listener.name.clone(),
            insists: insists(listener),
            sites: sockets.iter().filter_map(Site::of).collect(),
            networks: Vec::new(),
            denied: guard::unanswered_ports(listener),
            ports: vec![0; PORT_WORDS as usize],
            interfaces: None,
        }
    }

    /// Writes its rules for `slot`, which is free: nothing is answered by them yet.
    pub(super) fn fill(&mut self, maps: &Maps, slot: u32, listener: &config::Listener) -> io::Result<()> {
        let flags = if listener.trusted.is_empty() { 0 } else { TRUSTS };
        maps.set_listener(slot, flags, listener.loop_breaker)?;
        // `deny` decides where both have the same network.
        let lists = [
            (NetworkList::Clients, &listener.allow, 1_u32),
            (NetworkList::Clients, &listener.deny, 0),
            (NetworkList::Trusted, &listener.trusted, 1),
        ];
        for (list, networks, verdict) in lists {
            for network in networks.iter() {
                let key = maps::listed(slot, list, *network);
                maps.networks.update(&key, &verdict.to_ne_bytes())?;
                self.networks.push(key);
            }
        }
        self.refresh_ports(maps, slot)
    }

    /// Writes the ports that are not answered, as far as they have changed: those of the daemon come and go.
    pub(super) fn refresh_ports(&mut self, maps: &Maps, slot: u32) -> io::Result<()> {
        let own = guard::own_ports()?;
        for word in 0..PORT_WORDS {
            let at = word as usize;
            let wanted = self.denied.get(at).copied().unwrap_or(0) | own.word(at);
            if self.ports[at] != wanted {
                maps.set_ports(slot, word, wanted)?;
                self.ports[at] = wanted;
            }
        }
        Ok(())
    }

    /// Takes its rules away again. What cannot be removed stands for nothing: no place leads there.
    pub(super) fn clear(&self, maps: &Maps, slot: u32) {
        self.networks.iter().for_each(|key| _ = maps.networks.delete(key));
        for (word, _) in (0..).zip(&self.ports).filter(|(_, ports)| **ports != 0) {
            let _ = maps.set_ports(slot, word, 0);
        }
    }

    /// Adds the places where the kernel should answer for it.
    pub(super) fn want(&self, network: &NetworkView, slot: u32, places: &mut PlaceTable) {
        for interface in &network.interfaces {
            for site in self.sites.iter().filter(|site| [0, interface.index].contains(&site.device)) {
                // The guard does not remember the peers of a socket that only this machine reaches.
                let by_site = if site.scope == AddressScope::Loopback { 0 } else { REMEMBERS };
                for address in site.addresses(network, interface) {
                    let by_interface = match (is_loopback(interface), address) {
                        (true, _) => LOOPBACK,
                        (false, IpAddr::V4(_)) if network.looks_at_sources(interface) => ON_LINK,
                        _ => 0,
                    };
                    let place = maps::place(interface.index, address, site.port);
                    places.set(place, maps::destination(slot, by_interface | by_site));
                }
            }
        }
    }
}

impl Site {
    fn of(listener: &Listener) -> Option<Site> {
        let Peer::Inet(address) = listener.address() else { return None };
        let ip = plain(address.ip());
        let is_v4 = ip.is_ipv4();
        // An IPv6 socket at all addresses may serve IPv4, too.
        let both = !is_v4
            && ip.is_unspecified()
            && listener.sockets().all(|socket| socket.only_v6().is_ok_and(|only| !only));
        let scope = listener.place();
        let local = (scope == AddressScope::Loopback).then_some(ip);
        // Where that cannot be read, it is at no interface.
        let device =
            listener.sockets().next().and_then(|socket| interface_index::of(socket).ok()).unwrap_or(u32::MAX);
        Some(Site { scope, device, local, port: address.port(), v4: is_v4 || both, v6: !is_v4 })
    }

    /// Its addresses on an interface. On the loopback interface only those of that: what this machine sends to its other addresses
    /// comes from one of them.
    fn addresses(&self, network: &NetworkView, interface: &Interface) -> Vec<IpAddr> {
        let mut all = Vec::new();
        match (is_loopback(interface), self.scope) {
            (true, AddressScope::Wildcard) => {
                all.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
            }
            (true, _) => all.extend(self.local),
            (false, AddressScope::Wildcard) => all.extend(network.of(interface).map(|own| own.address)),
            (false, AddressScope::Single(bound)) if network.of(interface).any(|own| own.address == bound) => {
                all.push(bound);
            }
            (false, _) => {}
        }
        all.retain(|address| if address.is_ipv4() { self.v4 } else { self.v6 });
        all
    }
}
