//! What the supervisor checks at a listener from outside, without asking its workers.

use std::os::fd::AsFd;

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Pid,
};

use super::{How, RunningListener};
use crate::socket::{
    address::Peer,
    listener::{Listener, SocketOwner},
};

impl RunningListener {
    /// Whether the file of `socket` is where clients look for it. The file of a passed socket is the service manager's
    /// business.
    pub fn has_file_of(&self, socket: &Listener) -> bool {
        match socket.address() {
            Peer::Path(path) if socket.owner() != SocketOwner::Activated => {
                self.files.iter().any(|file| file.is_at(path) && file.is_there())
            }
            _ => true,
        }
    }

    /// Whether a client or a datagram waits at its sockets.
    pub fn has_waiting_clients(&self) -> bool {
        let sockets = self.sockets().iter().flat_map(Listener::sockets);
        let mut polled: Vec<_> =
            sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let is_readable =
            |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        poll(&mut polled, PollTimeout::ZERO).is_ok() && polled.iter().any(is_readable)
    }

    /// The process that serves it, if it has one.
    pub fn process(&self) -> Option<Pid> {
        match &self.how {
            How::Threads(..) => None,
            How::Process(server) => server.process(),
        }
    }
}
