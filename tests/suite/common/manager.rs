//! The service manager's end of sd_notify(3).

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram},
};

use tempfile::TempDir;

use super::{PATIENCE, client::uninterrupted};

/// Receives what the daemon tells its service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    pub(crate) name: String,
    _dir: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        Self::with(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned(), dir)
    }

    /// One with a name in the abstract namespace.
    pub(crate) fn nameless() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().to_str().unwrap();
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        Self::with(socket, format!("@{name}"), dir)
    }

    fn with(socket: UnixDatagram, name: String, dir: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, _dir: dir }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let received = uninterrupted(|| self.socket.recv(&mut buffer));
        let length = received.expect("a message for the service manager");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that has this line.
    #[track_caller]
    pub(crate) fn wait(&self, line: &str) -> String {
        loop {
            let message = self.next();
            if message.lines().any(|each| each == line) {
                return message;
            }
        }
    }

    /// The messages that have arrived.
    pub(crate) fn arrived(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut messages = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            messages.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        self.socket.set_nonblocking(false).unwrap();
        messages
    }
}
