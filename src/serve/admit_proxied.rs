//! Clients behind a proxy: whose PROXY headers are trusted, and the admission of the clients that they name.

use std::net::{IpAddr, SocketAddr};

use crate::{
    access::sources::SourceSlot,
    config::{ProxyProtocol, embedded::plain},
    report::refusal_reason::RefusalReason,
    serve::context::ListenerContext,
    socket::address::Peer,
    stream::connection::Connection,
};

impl ListenerContext {
    /// The connection of an admitted peer.
    pub fn connection(&self, peer: Peer) -> Connection {
        let awaiting_proxy_header = self.awaits_header(&peer).unwrap_or(false);
        let connection = Connection::new(&*self.service, peer);
        if awaiting_proxy_header { connection.awaiting_proxy_header(&self.context()) } else { connection }
    }

    /// Whether the connection starts with a PROXY header; an error if the header is required and the peer is not
    /// trusted.
    pub(super) fn awaits_header(&self, peer: &Peer) -> Result<bool, RefusalReason> {
        let is_needed = match self.settings.proxy_protocol {
            ProxyProtocol::Off => return Ok(false),
            ProxyProtocol::Optional => false,
            ProxyProtocol::Required => true,
        };
        match is_needed && !self.trusts(peer) {
            true => Err(RefusalReason::UntrustedProxy),
            false => Ok(self.trusts(peer)),
        }
    }

    fn trusts(&self, peer: &Peer) -> bool {
        match address(peer) {
            Some(ip) => self.settings.trusts_proxy(ip),
            None => true,
        }
    }

    /// Decides about the client after the header phase; a proxy that speaks for itself is judged by its own address.
    /// The source slot must be kept as long as the connection.
    pub fn admit_proxied(&self, connection: &Connection) -> Result<Option<SourceSlot>, RefusalReason> {
        let proxied_source = connection.proxied_source().as_ref().map(SocketAddr::ip);
        proxied_source
            .or(address(connection.peer()))
            .map_or(Ok(None), |source| self.access.admit_address(source))
    }
}

fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Inet(address) => Some(plain(address.ip())),
        Peer::Path(_) | Peer::Abstract(_) | Peer::Unnamed => None,
    }
}
