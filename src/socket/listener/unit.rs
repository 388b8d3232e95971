//! Sockets of a socket unit: what the service manager set on them.

use std::{io, sync::Arc};

use crate::{
    config,
    socket::{
        address::Peer,
        listener::{Listener, SocketOwner},
        options::Usual,
    },
};

/// What is known of a socket unit.
#[derive(Debug)]
pub(crate) struct Unit {
    /// `FileDescriptorName=`.
    pub(super) name: String,
    /// The options of the socket before this daemon set any.
    pub(super) usual: Usual,
}

impl Listener {
    /// The same listener as a socket of the service manager, which passed it by this name and made it as it is now.
    /// What the configuration leaves to the kernel is left to the manager.
    pub fn of_manager(self, name: &str) -> io::Result<Listener> {
        let unit = Unit { name: name.to_owned(), usual: Usual::of(&self.socket)? };
        Ok(Listener { owner: SocketOwner::Activated, unit: Some(Arc::new(unit)), ..self })
    }

    /// The name by which it was passed, if it was.
    pub fn passed_name(&self) -> Option<&str> {
        self.unit.as_ref().map(|unit| unit.name.as_str())
    }

    /// Whether it was passed for this listener.
    pub fn is_named(&self, settings: &config::Listener) -> bool {
        self.protocol == settings.protocol && self.passed_name() == Some(&settings.name)
    }

    /// Whether it was passed, and serves clients of `place` as well.
    pub fn stands_for(&self, place: &Peer) -> bool {
        self.owner == SocketOwner::Activated && is_wider(&self.address, place) && self.is_dual()
    }

    /// Whether it serves IPv4 as well as IPv6.
    pub fn is_dual(&self) -> bool {
        let is_ipv6 = matches!(self.address, Peer::Inet(address) if address.is_ipv6());
        is_ipv6 && self.socket.only_v6().is_ok_and(|only| !only)
    }
}

/// Whether `bound` is the IPv6 wildcard and `place` the IPv4 wildcard, with one port: the first serves both, unless it
/// is IPV6_V6ONLY.
pub(crate) fn is_wider(bound: &Peer, place: &Peer) -> bool {
    let (Peer::Inet(bound), Peer::Inet(place)) = (bound, place) else { return false };
    let are_wild = bound.ip().is_unspecified() && place.ip().is_unspecified();
    are_wild && bound.is_ipv6() && place.is_ipv4() && bound.port() == place.port()
}
