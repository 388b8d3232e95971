//! Which datagrams are not to be answered. An echo of datagrams is the textbook's reflector: whoever forges a source address
//! aims our answers, and two servers that answer each other never stop (CERT CA-1996-01, CVE-2024-2169).
//!
//! Decisions only, over source, destination and time: no socket and no log. The cheap ones come first. ARCHITECTURE.md tells
//! what each of them is against.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use ipnet::IpNet;

use crate::{
    config::{self, PortChoice, Protocol, ServiceKind, SourcePorts, embedded::plain},
    report::refusal_reason::RefusalReason,
    sys::{clock, names::Destination, shared::SharedArray, socket_filter::Instruction},
};

mod filter;
mod interfaces;
mod peers;
mod ports;
mod source;
mod table;

pub use ports::{OwnPorts, adopt_own_ports, own_ports};
pub use source::{Class, PlainAddress};

use peers::Peers;
use ports::PortSet;

/// The guard of one listener.
pub struct Guard {
    ports: PortSet,
    /// `deny-source-ports` has "reflectors": our own ports are some, wherever they are, and some others are answered seldom.
    reflectors: bool,
    allow_multicast: bool,
    breaker: u32,
    trusted: Vec<IpNet>,
    /// The ports of all listeners.
    own: &'static OwnPorts,
    peers: Peers,
    /// When those who are answered seldom have used up what they had, in nanoseconds.
    throttle: SharedArray<AtomicU64>,
}

/// Where the socket is bound that a datagram came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressScope {
    /// A loopback address: only this machine gets there.
    Loopback,
    /// All addresses of the machine.
    Wildcard,
    /// One address, or one that stands for many.
    Single(IpAddr),
}

/// What all datagrams of a batch have in common, looked up once for all.
pub struct BatchContext {
    place: AddressScope,
    /// In nanoseconds.
    now: u64,
    /// The place is an address that stands for many.
    is_for_many: bool,
    /// The broadcast addresses of the machine.
    broadcasts: Rc<[Ipv4Addr]>,
}

/// Answers a second for all who are answered seldom together; so many may come at once.
const THROTTLE: u64 = 10;
const SECOND: u64 = 1_000_000_000;

impl Guard {
    /// The guard of `listener`, if it needs one.
    pub fn new(listener: &config::Listener) -> io::Result<Option<Guard>> {
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
            peers: Peers::new()?,
            throttle: SharedArray::new(1)?,
        }))
    }

    /// Whether a datagram from a [`plain`] `source` to `destination` could be honest. A loopback source is this machine, for the kernel
    /// drops one that comes in from outside: it may come to all addresses of the machine, but is not expected at a single other
    /// one. Where it was sent to is known
    /// only of sockets with many addresses.
    #[inline]
    pub fn addresses(
        &self,
        round: &BatchContext,
        source: impl PlainAddress,
        destination: Option<Destination>,
    ) -> Result<(), RefusalReason> {
        let is_broadcast = || source.as_v4().is_some_and(|v4| round.broadcasts.contains(&v4));
        if !may_come(&self.trusted, round.place, source) || is_broadcast() {
            return Err(RefusalReason::SourceAddress);
        }
        match self.allow_multicast || !round.is_for_many(destination) {
            true => Ok(()),
            false => Err(RefusalReason::DestinationAddress),
        }
    }

    /// Whether something may sit at a [`plain`] `source` that answers an answer.
    #[inline(always)]
    pub fn port(
        &self,
        round: &BatchContext,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        if self.own.contains(source.as_v4().is_none(), port) {
            if source.class() == Class::Loopback || interfaces::is_ours(source.into(), round.now) {
                return Err(RefusalReason::OwnListener);
            }
            // A network may be known to have nobody who would answer an answer.
            if self.reflectors && !self.trusts(source.into()) {
                return Err(RefusalReason::SourcePort);
            }
        }
        if self.ports.contains(port) {
            return Err(if port == 0 { RefusalReason::Unanswerable } else { RefusalReason::SourcePort });
        }
        if self.reflectors && ports::is_throttled(port) && !self.is_seldom(round.now) {
            return Err(RefusalReason::Throttled);
        }
        Ok(())
    }

    /// Whether a [`plain`] `source` was answered too often, or does not want to be. To be asked last: it counts.
    #[inline]
    pub fn peer(
        &self,
        round: &BatchContext,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        match round.place {
            AddressScope::Loopback => Ok(()),
            _ if self.trusts(source.into()) => Ok(()),
            _ => self.peers.answer(source.into(), port, round.now, self.breaker),
        }
    }

    /// Notes that nobody listens at an address and port that was answered.
    pub fn on_port_unreachable(&self, address: IpAddr, port: u16) {
        self.peers.on_port_unreachable(plain(address), port, clock::now());
    }

    /// Seldom more than a few, and mostly none.
    fn trusts(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&source))
    }

    /// A bucket of [`THROTTLE`] tokens as one number: when it is full again.
    fn is_seldom(&self, now: u64) -> bool {
        let token = SECOND / THROTTLE;
        let take = |full: u64| {
            let later = full.max(now) + token;
            (later <= now + SECOND).then_some(later)
        };
        self.throttle[0].fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

impl BatchContext {
    /// Of a batch that came to `place` at `now`, in nanoseconds.
    pub fn new(place: AddressScope, now: u64) -> BatchContext {
        let is_for_many = match place {
            AddressScope::Single(address) => is_for_many(address, None, now),
            AddressScope::Loopback | AddressScope::Wildcard => false,
        };
        BatchContext { place, now, is_for_many, broadcasts: interfaces::broadcasts(now) }
    }

    /// Whether a datagram was sent to many machines at once.
    pub fn is_for_many(&self, destination: Option<Destination>) -> bool {
        match destination {
            Some(Destination { address, local }) => is_for_many(plain(address), local, self.now),
            None => self.is_for_many,
        }
    }
}

/// Whether a [`plain`] `address` stands for many. `local` is that of ours which an answer would leave from, where that is known.
fn is_for_many(address: IpAddr, local: Option<Ipv4Addr>, now: u64) -> bool {
    let IpAddr::V4(v4) = address else { return address.is_multicast() };
    // Where an answer would leave from another address than the one that was asked, that one is nobody's alone (ip(7)).
    let is_shared = match local {
        Some(local) => local != v4,
        None => interfaces::is_broadcast_here(v4, now),
    };
    is_shared || v4.class() == Class::Martian
}

/// Whether `listener` needs a guard. A unix socket has the name that its peer gave it, and where nothing is answered there is
/// nothing to guard.
pub fn needs_one(listener: &config::Listener) -> bool {
    listener.protocol == Protocol::Udp && listener.service != ServiceKind::Discard
}

/// Whether a [`plain`] `source` may be one of somebody who comes to `place`: not nobody's, and of a loopback address only where this
/// machine may ask itself.
pub fn may_come(trusted: &[IpNet], place: AddressScope, source: impl PlainAddress) -> bool {
    let expected = !matches!(place, AddressScope::Single(_));
    match source.class() {
        Class::Martian => false,
        Class::Loopback => expected || trusted.iter().any(|network| network.contains(&source.into())),
        Class::Unicast => true,
    }
}

/// Which source ports `listener` does not answer, for its line in the log.
pub fn silent_ports(listener: &config::Listener) -> Option<String> {
    let choices = &listener.deny_source_ports;
    let own = if choices.0.contains(&PortChoice::Reflectors) { " and those of echod" } else { "" };
    needs_one(listener).then(|| {
        format!("; source ports {}{own} are not answered (deny-source-ports)", PortSet::new(choices))
    })
}

/// Whether `address` is this machine's. Where it may not know its addresses, any could be.
pub fn is_ours(address: IpAddr) -> bool {
    let address = plain(address);
    address.class() == Class::Loopback || interfaces::is_ours(address, clock::now())
}

/// Whether `address` is a broadcast address of this machine's networks.
pub fn is_broadcast(address: IpAddr) -> bool {
    plain(address).as_v4().is_some_and(|v4| interfaces::broadcasts(clock::now()).contains(&v4))
}

/// Whether `deny-source-ports` has `port`.
pub fn is_denied_port(choices: &SourcePorts, port: u16) -> bool {
    PortSet::new(choices).contains(port)
}

/// Whether `port` is answered seldom.
pub fn is_throttled_port(choices: &SourcePorts, port: u16) -> bool {
    choices.0.contains(&PortChoice::Reflectors) && ports::is_throttled(port)
}

/// Whether a socket of `listener` at `place` is to hear what became of its answers.
pub fn wants_feedback(listener: &config::Listener, place: AddressScope) -> bool {
    needs_one(listener) && place != AddressScope::Loopback
}

/// The socket filter for a socket of `listener`, an IPv4 or an `ipv6` one, if it is to have one.
pub fn filter(listener: &config::Listener, ipv6: bool) -> Option<Vec<Instruction>> {
    (needs_one(listener) && listener.kernel_filter)
        .then(|| filter::compile(&PortSet::new(&listener.deny_source_ports), ipv6))
        .flatten()
}

impl AddressScope {
    /// The place of a socket that is bound to `address`.
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
