//! Which datagrams must not be answered. A UDP echo is the textbook reflector: a client that forges its source address
//! aims our answers at a victim, and two servers that answer each other never stop (CERT CA-1996-01, CVE-2024-2169).
//!
//! Decisions only, about source, destination and time: no socket and no log. Cheap checks come first. What each check
//! is against: docs/learn/7-udp.md; how it works: docs/internals/datagrams.md.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ipnet::IpNet;

use crate::{
    access::{memory::TableMemory, state::PeerState},
    config::{self, PortChoice, Protocol, ServiceKind, SourcePorts, embedded::plain},
    report::refusal_reason::RefusalReason,
    sys::{clock, names::Destination, shared::SharedArray, socket_filter::Instruction},
};

mod filter;
mod interfaces;
mod kernel;
mod peers;
mod ports;
mod source;
mod table;

pub use kernel::{KernelPeers, KernelRun};
pub use ports::{OwnPorts, adopt_own_ports, is_source_of_clients, own_ports};
pub use source::{Class, PlainAddress};

use peers::Peers;
use ports::PortSet;

/// The guard of one listener.
pub struct Guard {
    ports: PortSet,
    /// `deny-source-ports` has "reflectors": the ports of our own listeners are denied at any address, and some others
    /// are throttled.
    reflectors: bool,
    allow_multicast: bool,
    breaker: u32,
    trusted: Vec<IpNet>,
    /// The ports of all UDP listeners of the daemon.
    own: &'static OwnPorts,
    peers: Peers,
    /// The bucket of throttled answers: when it is full again, in nanoseconds.
    throttle: SharedArray<AtomicU64>,
    /// The peers that the kernel answers itself, if it does (`offload`).
    kernel: OnceLock<Box<dyn KernelPeers>>,
}

/// The kind of address that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressScope {
    /// A loopback address, which only this machine can reach.
    Loopback,
    /// All addresses of the machine.
    Wildcard,
    /// A single address, or a multicast or broadcast one.
    Single(IpAddr),
}

/// What all datagrams of a batch have in common, looked up once.
pub struct BatchContext {
    place: AddressScope,
    /// In nanoseconds.
    now: u64,
    /// The socket is bound to a multicast or broadcast address.
    is_for_many: bool,
    /// The broadcast addresses of the machine.
    broadcasts: Rc<[Ipv4Addr]>,
}

/// Answers a second to all throttled ports together; as many may be sent at once.
const THROTTLE: u64 = 10;
const SECOND: u64 = 1_000_000_000;

impl Guard {
    /// The guard of `listener`, if it needs one.
    pub fn new(listener: &config::Listener, memory: &mut TableMemory<'_>) -> io::Result<Option<Guard>> {
        if !needs_one(listener) {
            return Ok(None);
        }
        Ok(Some(Guard {
            ports: PortSet::new(&listener.deny_source_ports),
            reflectors: listener.deny_source_ports.0.contains(&PortChoice::Reflectors),
            allow_multicast: listener.allow_multicast,
            breaker: listener.loop_breaker,
            trusted: listener.trusted.to_vec(),
            own: own_ports()?,
            peers: Peers::new(memory)?,
            throttle: memory.array(1)?,
            kernel: OnceLock::new(),
        }))
    }

    /// Whether a datagram from a [`plain`] `source` to `destination` can be genuine. A loopback source is this machine,
    /// because the kernel drops one that comes in from outside. It may reach a socket that is bound to all addresses,
    /// but is not expected at one bound to another single address. The destination is known only for sockets with many
    /// addresses.
    #[inline]
    pub fn addresses(
        &self,
        batch: &BatchContext,
        source: impl PlainAddress,
        destination: Option<Destination>,
    ) -> Result<(), RefusalReason> {
        let is_broadcast = || source.as_v4().is_some_and(|v4| batch.broadcasts.contains(&v4));
        if !may_come(&self.trusted, batch.place, source) || is_broadcast() {
            return Err(RefusalReason::SourceAddress);
        }
        match self.allow_multicast || !batch.is_for_many(destination) {
            true => Ok(()),
            false => Err(RefusalReason::DestinationAddress),
        }
    }

    /// Whether a service that answers an answer may be bound to this port of a [`plain`] `source`.
    #[inline(always)]
    pub fn port(
        &self,
        batch: &BatchContext,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        if self.own.contains(source.as_v4().is_none(), port) {
            if source.class() == Class::Loopback || interfaces::is_ours(source.into(), batch.now) {
                return Err(RefusalReason::OwnListener);
            }
            // A trusted network is known to have no service that would answer an answer.
            if self.reflectors && !self.trusts(source.into()) {
                return Err(RefusalReason::SourcePort);
            }
        }
        if self.ports.contains(port) {
            return Err(if port == 0 { RefusalReason::Unanswerable } else { RefusalReason::SourcePort });
        }
        if self.reflectors && ports::is_throttled(port) && !self.take_throttled(batch.now) {
            return Err(RefusalReason::Throttled);
        }
        Ok(())
    }

    /// Whether a [`plain`] `source` was answered too often, or reported that it wants no answers. To be called last: it
    /// counts.
    #[inline]
    pub fn peer(
        &self,
        batch: &BatchContext,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        match batch.place {
            AddressScope::Loopback => Ok(()),
            _ if self.trusts(source.into()) => Ok(()),
            _ => self.peers.answer(source.into(), port, batch.now, self.breaker),
        }
    }

    /// Records that an answer to this address and port was met by an ICMP port unreachable.
    pub fn on_port_unreachable(&self, address: IpAddr, port: u16) {
        self.peers.on_port_unreachable(plain(address), port, clock::now(), self.kernel());
    }

    /// Has the peers in mind that the kernel answers itself. Only the first call counts.
    pub fn set_kernel_peers(&self, peers: Box<dyn KernelPeers>) {
        let _ = self.kernel.set(peers);
    }

    fn kernel(&self) -> Option<&dyn KernelPeers> {
        self.kernel.get().map(|peers| &**peers)
    }

    /// What is remembered of a peer at the time `now`, in nanoseconds. Without a port only what concerns its whole address.
    pub fn look(&self, address: IpAddr, port: Option<u16>, now: u64) -> PeerState {
        let address = plain(address);
        PeerState {
            trusted: self.trusts(address),
            ..self.peers.look(address, port, now, self.breaker, self.kernel())
        }
    }

    /// The list is short, and mostly empty.
    fn trusts(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&source))
    }

    /// Takes a token from the bucket of throttled answers, which holds [`THROTTLE`] of them (GCRA, see `access::rate`).
    fn take_throttled(&self, now: u64) -> bool {
        let token = SECOND / THROTTLE;
        let take = |full: u64| {
            let later = full.max(now) + token;
            (later <= now + SECOND).then_some(later)
        };
        self.throttle[0].fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

impl BatchContext {
    /// The context of a batch that was received at `place` at the time `now`, in nanoseconds.
    pub fn new(place: AddressScope, now: u64) -> BatchContext {
        let is_for_many = match place {
            AddressScope::Single(address) => is_for_many(address, None, now),
            AddressScope::Loopback | AddressScope::Wildcard => false,
        };
        BatchContext { place, now, is_for_many, broadcasts: interfaces::broadcasts(now) }
    }

    /// Whether a datagram was sent to a multicast or broadcast address.
    pub fn is_for_many(&self, destination: Option<Destination>) -> bool {
        match destination {
            Some(Destination { address, local }) => is_for_many(plain(address), local, self.now),
            None => self.is_for_many,
        }
    }
}

/// Whether a [`plain`] `address` is a multicast or broadcast one. `local` is our address that an answer would leave
/// from, if known.
fn is_for_many(address: IpAddr, local: Option<Ipv4Addr>, now: u64) -> bool {
    let IpAddr::V4(v4) = address else { return address.is_multicast() };
    // If an answer would leave from another address than the one asked, that one does not belong to this machine alone
    // (ip(7)).
    let is_shared = match local {
        Some(local) => local != v4,
        None => interfaces::is_broadcast_here(v4, now),
    };
    is_shared || v4.class() == Class::Martian
}

/// Whether `listener` needs a guard. The peer of a unix socket has the name that it bound, so it cannot forge one; a
/// service that answers nothing needs none.
pub fn needs_one(listener: &config::Listener) -> bool {
    listener.protocol == Protocol::Udp && listener.service != ServiceKind::Discard
}

/// Whether a [`plain`] `source` may reach `place`: no martian, and a loopback address only where this machine may send
/// to itself.
pub fn may_come(trusted: &[IpNet], place: AddressScope, source: impl PlainAddress) -> bool {
    let expected = !matches!(place, AddressScope::Single(_));
    match source.class() {
        Class::Martian => false,
        Class::Loopback => expected || trusted.iter().any(|network| network.contains(&source.into())),
        Class::Unicast => true,
    }
}

/// The source ports that `listener` does not answer, for its log line.
pub fn silent_ports(listener: &config::Listener) -> Option<String> {
    let choices = &listener.deny_source_ports;
    let own = if choices.0.contains(&PortChoice::Reflectors) { " and those of echod" } else { "" };
    needs_one(listener).then(|| {
        format!("; source ports {}{own} are not answered (deny-source-ports)", PortSet::new(choices))
    })
}

/// Whether `address` belongs to this machine. If the process may not read the addresses, any could.
pub fn is_ours(address: IpAddr) -> bool {
    let address = plain(address);
    address.class() == Class::Loopback || interfaces::is_ours(address, clock::now())
}

/// Whether `address` is a broadcast address of this machine's networks.
pub fn is_broadcast(address: IpAddr) -> bool {
    plain(address).as_v4().is_some_and(|v4| interfaces::broadcasts(clock::now()).contains(&v4))
}

/// Whether `deny-source-ports` contains `port`.
pub fn is_denied_port(choices: &SourcePorts, port: u16) -> bool {
    PortSet::new(choices).contains(port)
}

/// The ports that `listener` does not answer, or seldom, but for those of the daemon: 64 in each number.
pub fn unanswered_ports(listener: &config::Listener) -> Vec<u64> {
    ports::unanswered(&listener.deny_source_ports)
}

/// Whether answers to `port` are throttled.
pub fn is_throttled_port(choices: &SourcePorts, port: u16) -> bool {
    choices.0.contains(&PortChoice::Reflectors) && ports::is_throttled(port)
}

/// Whether a socket of `listener` at `place` needs an error queue, to learn of port unreachables.
pub fn wants_feedback(listener: &config::Listener, place: AddressScope) -> bool {
    needs_one(listener) && place != AddressScope::Loopback
}

/// The socket filter of an IPv4 or `ipv6` socket of `listener`, if it is to have one.
pub fn filter(listener: &config::Listener, ipv6: bool) -> Option<Vec<Instruction>> {
    (needs_one(listener) && listener.kernel_filter)
        .then(|| filter::compile(&PortSet::new(&listener.deny_source_ports), ipv6))
        .flatten()
}

impl AddressScope {
    /// The scope of a socket that is bound to `address`.
    pub fn of(address: SocketAddr) -> AddressScope {
        let address = plain(address.ip());
        match address.class() {
            Class::Loopback => AddressScope::Loopback,
            _ if address.is_unspecified() => AddressScope::Wildcard,
            _ => AddressScope::Single(address),
        }
    }
}

#[cfg(test)]
mod tests;
