//! What is asked about listeners that are bound.

use std::path::PathBuf;

use socket2::Socket;

use super::Bound;
use crate::{
    access::guard,
    config,
    socket::{
        address::Peer,
        listener::{Listener, SocketOwner},
    },
};

impl Bound {
    /// The listeners and their sockets.
    pub fn listeners(&self) -> impl Iterator<Item = (&config::Listener, &[Listener])> {
        self.listeners.iter().map(|(settings, sockets)| (settings, sockets.as_slice()))
    }

    /// Its sockets at internet addresses.
    pub fn inet(&self) -> impl Iterator<Item = &Socket> {
        let listeners = self.listeners.iter().flat_map(|(_, listeners)| listeners);
        let inet = listeners.filter(|listener| matches!(listener.address(), Peer::Inet(_)));
        inet.filter(|listener| listener.owner() != SocketOwner::Activated).flat_map(Listener::sockets)
    }

    /// An address that others than this machine can reach, if there is one.
    pub fn public(&self) -> Option<String> {
        let sockets = self.listeners.iter().flat_map(|(_, sockets)| sockets);
        let is_public = |socket: &&Listener| matches!(socket.address(), Peer::Inet(address) if !address.ip().to_canonical().is_loopback());
        sockets.into_iter().find(is_public).map(|socket| socket.url().to_string())
    }

    /// The files of unix sockets that this daemon is to remove at its end.
    pub fn files(&self) -> Vec<PathBuf> {
        let sockets = self.listeners.iter().flat_map(|(_, sockets)| sockets);
        let file = |socket: &Listener| match socket.address() {
            Peer::Path(path) if socket.owner() == SocketOwner::Own => Some(path.to_path_buf()),
            _ => None,
        };
        sockets.filter_map(file).collect()
    }

    /// What the log says of each.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (settings, sockets) in self.listeners() {
            let config::Listener { name, mode, service, workers, .. } = settings;
            let silent = guard::silent_ports(settings).unwrap_or_default();
            words.extend(sockets.iter().map(|socket| {
                let url = socket.url();
                format!(
                    "listener \"{name}\": serving {service} at {url}, mode {mode}, workers {workers}{silent}"
                )
            }));
        }
        words
    }
}
