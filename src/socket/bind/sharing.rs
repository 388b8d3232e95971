//! Two sockets of one port for a moment: sockets that are about to be closed let another one be bound beside them.

use std::io;

use socket2::Socket;

use crate::socket::listener::Listener;

/// While this exists, sockets with SO_REUSEPORT can be bound beside those it was made of. The kernel lets only sockets
/// of one user share a port.
pub(super) struct Sharing<'a>(Vec<&'a Socket>);

impl<'a> Sharing<'a> {
    pub(super) fn of(listeners: &[&'a Listener]) -> io::Result<Sharing<'a>> {
        let mut sharing = Sharing(Vec::new());
        for socket in listeners.iter().flat_map(|listener| listener.sockets()) {
            if !socket.reuse_port()? {
                socket.set_reuse_port(true)?;
                sharing.0.push(socket);
            }
        }
        Ok(sharing)
    }
}

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        // It cannot fail on a socket where it has succeeded before.
        self.0.iter().for_each(|socket| _ = socket.set_reuse_port(false));
    }
}
