//! What is known of a connection, for a service that describes requests (whoami).

use crate::{
    config::Protocol,
    service::request::{RequestAddress, RequestInfo},
    stream::connection::Connection,
    sys::{credentials::peer_credentials, request_notes, transport::Transport},
};

impl Connection {
    /// Tells the session of its connection, before it is opened.
    #[cold]
    pub(super) fn introduce(&mut self, transport: &impl Transport, protocol: Protocol) {
        let socket = transport.socket();
        // Of a connection that the peer has reset, the kernel tells nothing any more.
        let local = socket2::SockRef::from(&socket).local_addr().ok();
        let is_unix = protocol.is_unix();
        self.session.introduce(&RequestInfo {
            peer: RequestAddress::from(&self.peer),
            local: local.as_ref().map(RequestAddress::from).unwrap_or_default(),
            proxy: self.proxy_header.as_ref().and_then(|header| header.told()),
            process: if is_unix { peer_credentials(&socket) } else { None },
            notes: if is_unix { Default::default() } else { request_notes::of_connection(socket) },
        });
    }
}
