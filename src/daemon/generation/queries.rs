//! Queries of a plan: addresses, files, log lines.

use std::path::PathBuf;

use socket2::Socket;

use super::{ListenerPlan, ServingLine};
use crate::{
    config,
    socket::{
        address::Peer,
        listener::{Listener, SocketOwner},
    },
};

impl ListenerPlan {
    /// The listeners and their sockets.
    pub fn listeners(&self) -> impl Iterator<Item = (&config::Listener, &[Listener])> {
        self.listeners.iter().map(|(settings, sockets)| (settings, sockets.as_slice()))
    }

    /// Its own sockets at internet addresses, without those of the service manager.
    pub fn inet(&self) -> impl Iterator<Item = &Socket> {
        let listeners = self.listeners.iter().flat_map(|(_, listeners)| listeners);
        let inet = listeners.filter(|listener| matches!(listener.address(), Peer::Inet(_)));
        inet.filter(|listener| listener.owner() != SocketOwner::Activated).flat_map(Listener::sockets)
    }

    /// An address that other machines can reach, if there is one.
    pub fn public(&self) -> Option<String> {
        let sockets = self.listeners.iter().flat_map(|(_, sockets)| sockets);
        let is_public = |socket: &&Listener| matches!(socket.address(), Peer::Inet(address) if !address.ip().to_canonical().is_loopback());
        sockets.into_iter().find(is_public).map(|socket| socket.url().to_string())
    }

    /// Socket files that this daemon removes at its end.
    pub fn files(&self) -> Vec<PathBuf> {
        let sockets = self.listeners.iter().flat_map(|(_, sockets)| sockets);
        let file = |socket: &Listener| match socket.address() {
            Peer::Path(path) if socket.owner() == SocketOwner::Own => Some(path.to_path_buf()),
            _ => None,
        };
        sockets.filter_map(file).collect()
    }

    /// A log line for each socket.
    pub fn serving_lines(&self) -> Vec<ServingLine> {
        let mut lines = Vec::new();
        for (settings, sockets) in self.listeners() {
            lines.extend(sockets.iter().map(|socket| ServingLine::new(settings, socket)));
        }
        lines
    }
}
