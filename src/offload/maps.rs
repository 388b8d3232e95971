//! The tables that the program reads and writes, with the layout that `program/echo.bpf.c` gives them.
//!
//! All are made at the start and never grow: no map can be made once privileges are dropped.

use std::{io, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};

use super::fit::MOST;
use crate::sys::bpf::{Map, MapKind};

/// How many listeners the kernel can echo for at once, and that of the self-test. A reload needs a second place for each that it changes.
pub(super) const SLOTS: u32 = MOST as u32 + 1;
/// Entries of [`Maps::places`]: a listener at all addresses has one for each. They take memory only when they are there.
const PLACES: u32 = 8192;
/// Peers whose answers are counted, as in the guard's own table.
const PEERS: u32 = 65_536;
/// Entries of [`Maps::networks`]: more than lists have. They take memory only when they are there.
const NETWORKS: u32 = 1 << 24;
/// Each processor counts in a place of its own, as long as there are no more of them.
const SHARDS: u32 = 16;
/// How many there are of a listener: as the program has them.
pub(super) const COUNTERS: usize = 8;
/// 64 ports each.
pub(super) const PORT_WORDS: u32 = 1024;

/// Flags of a destination.
pub(super) const LOOPBACK: u32 = 1;
pub(super) const ON_LINK: u32 = 2;
pub(super) const REMEMBERS: u32 = 4;
/// A flag of a listener.
pub(super) const TRUSTS: u32 = 1;

/// Spaces of networks: those of a listener, by list and family, and those of an interface.
const IPV6: u32 = 1;
const SPACES: u32 = 4;
const INTERFACE: u32 = 1 << 31;

/// The lists of a listener, by their numbers within its spaces.
#[derive(Clone, Copy, Debug)]
pub(super) enum NetworkList {
    /// `allow` and `deny`.
    Clients = 0,
    /// `trusted`.
    Trusted = 2,
}

pub(super) type PlaceKey = [u8; 24];
pub(super) type PlaceValue = [u8; 8];
pub(super) type NetworkKey = [u8; 24];
type PeerKey = [u8; 24];

/// The tables.
#[derive(Debug)]
pub(super) struct Maps {
    /// Where the kernel answers: interface, address and port. With interface and port 0: addresses that no client can have.
    pub(super) places: Map,
    listeners: Map,
    ports: Map,
    /// Networks, with whether their sources may come in.
    pub(super) networks: Map,
    peers: Map,
    counts: Map,
}

/// When a peer was last answered, and how often in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) answers: u64,
    pub(super) last: u64,
}

impl Maps {
    /// Makes them.
    pub(super) fn create() -> io::Result<Maps> {
        Ok(Maps {
            places: Map::create(MapKind::Hash, "echod_places", 24, 8, PLACES)?,
            listeners: Map::create(MapKind::Array, "echod_listener", 4, 16, SLOTS)?,
            ports: Map::create(MapKind::Array, "echod_ports", 4, 8, SLOTS * PORT_WORDS)?,
            networks: Map::create(MapKind::Networks, "echod_networks", 24, 4, NETWORKS)?,
            peers: Map::create(MapKind::LruHash, "echod_peers", 24, 24, PEERS)?,
            counts: Map::create(MapKind::Array, "echod_counts", 4, 64, SLOTS * SHARDS)?,
        })
    }

    /// All of them, in the order of the source of the program.
    pub(super) fn all(&self) -> [&Map; 6] {
        [&self.places, &self.listeners, &self.ports, &self.networks, &self.peers, &self.counts]
    }

    /// Sets the flags and the loop breaker of a listener that has no silenced peer.
    pub(super) fn set_listener(&self, slot: u32, flags: u32, breaker: u32) -> io::Result<()> {
        self.listeners.update(&slot.to_ne_bytes(), &listener(flags, breaker, 0))
    }

    /// Sets 64 ports that a listener does not answer.
    pub(super) fn set_ports(&self, slot: u32, word: u32, ports: u64) -> io::Result<()> {
        self.ports.update(&(slot * PORT_WORDS + word).to_ne_bytes(), &ports.to_ne_bytes())
    }

    /// What is counted for a listener, from the making of the maps on, in the order of the program: datagrams answered, their bytes,
    /// datagrams handed to the socket by the numbers of [`crate::report::stats::HANDED_ON`], answers that the loop breaker has withheld.
    pub(super) fn counters(&self, slot: u32) -> io::Result<[u64; COUNTERS]> {
        let mut sum = [0; COUNTERS];
        for shard in 0..SHARDS {
            let mut value = [0; COUNTERS * 8];
            self.counts.lookup(&(slot * SHARDS + shard).to_ne_bytes(), &mut value)?;
            for (sum, number) in sum.iter_mut().zip(value.as_chunks().0) {
                *sum = u64::wrapping_add(*sum, u64::from_ne_bytes(*number));
            }
        }
        Ok(sum)
    }

    /// What is known of a peer of a listener.
    pub(super) fn run(&self, slot: u32, address: IpAddr, port: u16) -> Option<Run> {
        let mut value = [0; 24];
        let found = self.peers.lookup(&peer(slot, address, port), &mut value);
        let number = |at: usize| value[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        found.is_ok_and(|found| found).then(|| Run { answers: number(0), last: number(8) })
    }

    /// Answers no datagrams of a peer until then, or of an address whatever its port.
    pub(super) fn silence(&self, slot: u32, address: IpAddr, port: Option<u16>, until: u64) {
        let mut value = [0; 24];
        value[16..].copy_from_slice(&until.to_ne_bytes());
        // Without room for it the peer stays as it is, as in the guard's own table.
        let _ = self.peers.update(&peer(slot, address, port.unwrap_or(0)), &value);
        let mut entry = [0; 16];
        if port.is_none() && self.listeners.lookup(&slot.to_ne_bytes(), &mut entry).is_ok_and(|found| found) {
            entry[8..].copy_from_slice(&until.to_ne_bytes());
            let _ = self.listeners.update(&slot.to_ne_bytes(), &entry);
        }
    }
}

fn listener(flags: u32, breaker: u32, silent_until: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..4].copy_from_slice(&flags.to_ne_bytes());
    value[4..8].copy_from_slice(&breaker.to_ne_bytes());
    value[8..].copy_from_slice(&silent_until.to_ne_bytes());
    value
}

/// An address as the program has it: an IPv4 one is `::ffff:a.b.c.d`.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The key of a place where the kernel answers.
pub(super) fn place(interface: u32, address: IpAddr, port: u16) -> PlaceKey {
    let mut key = [0; 24];
    key[..4].copy_from_slice(&interface.to_ne_bytes());
    key[4..20].copy_from_slice(&octets(address));
    key[20..22].copy_from_slice(&port.to_be_bytes());
    key
}

/// The key of an address that no client can have.
pub(super) fn no_client(address: IpAddr) -> PlaceKey {
    place(0, address, 0)
}

/// The interface of a place; 0 for an address that no client can have.
pub(super) fn interface_of(place: &PlaceKey) -> u32 {
    let [a, b, c, d, ..] = *place;
    u32::from_ne_bytes([a, b, c, d])
}

/// The listener that answers at a place.
pub(super) fn destination(slot: u32, flags: u32) -> PlaceValue {
    let mut value = [0; 8];
    value[..4].copy_from_slice(&slot.to_ne_bytes());
    value[4..].copy_from_slice(&flags.to_ne_bytes());
    value
}

/// The listener of a destination.
pub(super) fn slot_of(destination: &PlaceValue) -> u32 {
    let [a, b, c, d, ..] = *destination;
    u32::from_ne_bytes([a, b, c, d])
}

/// The key of a network in a list of a listener.
pub(super) fn listed(slot: u32, list: NetworkList, network: IpNet) -> NetworkKey {
    let family = if network.addr().is_ipv6() { IPV6 } else { 0 };
    in_space(slot * SPACES + list as u32 + family, network)
}

/// The key of a network that an interface leads to.
pub(super) fn on_link(interface: u32, network: Ipv4Net) -> NetworkKey {
    in_space(INTERFACE | interface, network.into())
}

#[inline(never)] // Several call it, and seldom.
fn in_space(space: u32, network: IpNet) -> NetworkKey {
    let before = if network.addr().is_ipv4() { 32 + 96 } else { 32 };
    let mut key = [0; 24];
    key[..4].copy_from_slice(&(before + u32::from(network.prefix_len())).to_ne_bytes());
    key[4..8].copy_from_slice(&space.to_ne_bytes());
    // The kernel does not look at what follows the prefix.
    key[8..].copy_from_slice(&octets(network.addr()));
    key
}

fn peer(slot: u32, address: IpAddr, port: u16) -> PeerKey {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&octets(address));
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key[20..].copy_from_slice(&slot.to_ne_bytes());
    key
}
