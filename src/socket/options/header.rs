//! What the configuration says of the IP header of answers. Accepted connections inherit it from their listening socket.

use std::io;

use socket2::Socket;

use crate::{
    config::{self, DontFragment, Protocol},
    sys::path_mtu::{self, Discovery},
};

/// The fields of the header that a socket sends, before this daemon has set any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    discovery: Option<Discovery>,
}

impl Header {
    /// The present values of `socket`.
    pub(super) fn of(socket: &Socket) -> Header {
        Header { discovery: Discovery::of(socket) }
    }

    /// Sets what `settings` say. What they leave to the kernel becomes as in `self`.
    pub(super) fn set(&self, socket: &Socket, settings: &config::Listener) -> io::Result<()> {
        if settings.protocol == Protocol::Udp {
            match (settings.dont_fragment, self.discovery) {
                (DontFragment::On, _) => Discovery::NEVER_FRAGMENTED.set(socket)?,
                (DontFragment::Off, _) => Discovery::FRAGMENTED.set(socket)?,
                (DontFragment::Auto, usual) => {
                    usual.map_or(Ok(()), |usual| usual.set(socket))?;
                    // Until an answer exceeds the path MTU.
                    path_mtu::forbid_fragments(socket);
                }
            }
        }
        Ok(())
    }
}
