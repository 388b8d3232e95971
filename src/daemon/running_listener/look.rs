//! What the supervisor looks for at a listener from outside, without asking those who serve it.

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
    /// Whether the file of one of its sockets is where clients look for it. What was passed is the service manager's to look after.
    pub fn has_file_of(&self, socket: &Listener) -> bool {
        match socket.address() {
            Peer::Path(path) if socket.owner() != SocketOwner::Activated => {
                self.files.iter().any(|file| file.is_at(path) && file.is_there())
            }
            _ => true,
        }
    }

    /// Whether somebody waits at its sockets.
    pub fn is_called(&self) -> bool {
        let sockets = self.sockets().iter().flat_map(Listener::sockets);
        let mut polled: Vec<_> =
            sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let is_readable = |fd: &PollFd<'_>| fd.revents().is_some_and(|told| told.contains(PollFlags::POLLIN));
        poll(&mut polled, PollTimeout::ZERO).is_ok() && polled.iter().any(is_readable)
    }

    /// The process that serves it, if it has one of its own.
    pub fn process(&self) -> Option<Pid> {
        match &self.how {
            How::Threads(..) => None,
            How::Process(server) => server.process(),
        }
    }
}
