//! A listener for which the kernel echoes: where, and with which rules.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    maps::{self, LOOPBACK, Maps, NetworkKey, ON_LINK, PORT_WORDS, PlaceKey, PlaceValue, REMEMBERS, TRUSTS},
    network::{NetworkView, is_loopback},
};
use crate::{
    access::guard::{self, AddressScope},
    config::{self, embedded::plain},
    socket::{address::Peer, listener::Listener},
    sys::rtnetlink::Interface,
};

/// What is served in a slot.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    sites: Vec<Site>,
    device: String,
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
            sites: sockets.iter().filter_map(Site::of).collect(),
            device: listener.device.clone(),
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
        for (networks, verdict) in [(&listener.allow, 1_u32), (&listener.deny, 0)] {
            for network in networks.iter() {
                self.add_network(maps, maps::listed(slot, network), verdict)?;
            }
        }
        for network in listener.trusted.iter() {
            self.add_network(maps, maps::trusted(slot, network), 1)?;
        }
        self.refresh_ports(maps, slot)
    }

    fn add_network(&mut self, maps: &Maps, key: NetworkKey, verdict: u32) -> io::Result<()> {
        maps.networks.update(&key, &verdict.to_ne_bytes())?;
        self.networks.push(key);
        Ok(())
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

    /// The places where the kernel should answer for it.
    pub(super) fn places<'a, 'n: 'a>(
        &'a self,
        network: &'n NetworkView,
        slot: u32,
    ) -> impl Iterator<Item = (&'n Interface, PlaceKey, PlaceValue)> + use<'a, 'n> {
        let is_wanted = |interface: &&Interface| self.device.is_empty() || interface.name == self.device;
        network.usable().filter(is_wanted).flat_map(move |interface| {
            let place = move |(address, site): (IpAddr, &Site)| {
                let by_interface = match (is_loopback(interface), address) {
                    (true, _) => LOOPBACK,
                    (false, IpAddr::V4(_)) if network.looks_at_sources(interface) => ON_LINK,
                    _ => 0,
                };
                // The guard does not remember the peers of a socket that only this machine reaches.
                let by_site = if site.scope == AddressScope::Loopback { 0 } else { REMEMBERS };
                let destination = maps::destination(slot, by_interface | by_site);
                (interface, maps::place(interface.index, address, site.port), destination)
            };
            let on =
                move |site: &'a Site| site.addresses(network, interface).map(move |address| (address, site));
            self.sites.iter().flat_map(on).map(place)
        })
    }
}

impl Site {
    fn of(listener: &Listener) -> Option<Site> {
        let Peer::Inet(address) = listener.address() else { return None };
        let is_v4 = plain(address.ip()).is_ipv4();
        // An IPv6 socket at all addresses may serve IPv4, too.
        let both = !is_v4
            && address.ip().is_unspecified()
            && listener.sockets().all(|socket| socket.only_v6().is_ok_and(|only| !only));
        let scope = listener.place();
        let local = (scope == AddressScope::Loopback).then(|| plain(address.ip()));
        Some(Site { scope, local, port: address.port(), v4: is_v4 || both, v6: !is_v4 })
    }

    /// Its addresses on an interface. On the loopback interface only those of that: what this machine sends to its other addresses
    /// comes from one of them.
    fn addresses<'a>(
        &'a self,
        network: &'a NetworkView,
        interface: &'a Interface,
    ) -> impl Iterator<Item = IpAddr> {
        let has_family = |address: &IpAddr| if address.is_ipv4() { self.v4 } else { self.v6 };
        let on_loopback = is_loopback(interface);
        let is_bound = move |address: &IpAddr| match self.scope {
            AddressScope::Wildcard => true,
            AddressScope::Single(bound) => bound == *address,
            AddressScope::Loopback => false,
        };
        let own = network.of(interface).map(|own| own.address).filter(move |_| !on_loopback).filter(is_bound);
        let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let local = local.into_iter().filter(move |_| on_loopback && self.scope == AddressScope::Wildcard);
        own.chain(local).chain(self.local.filter(|_| on_loopback)).filter(has_family)
    }
}
