//! Clients that were refused with a message, and linger until they have read it.

use std::os::fd::AsFd;

use socket2::Socket;

use super::EventLoop;
use crate::{
    serve::listener_set::LingerList,
    sys::poller::{Interest, Poller},
};

/// The keys from this one on are theirs, by their numbers, up to twice as much.
pub(super) const REFUSED: u64 = 1 << 31;

impl<P: Poller> EventLoop<'_, P> {
    /// Goes on with those that another worker has refused.
    pub(super) fn take_over(&mut self, mut refused: LingerList) {
        while let Some(socket) = refused.take() {
            self.linger(socket);
        }
    }

    /// Reads what a refused client sends until it has ended. Who cannot be watched is closed at once.
    pub(super) fn linger(&mut self, socket: Socket) {
        if self.poller.admits(socket.as_fd()).is_err() {
            return;
        }
        let Some(number) = self.refused.add(socket) else { return };
        let added = self
            .refused
            .sockets()
            .last()
            .map(|(_, fd)| self.poller.add(fd, REFUSED + u64::from(number), Interest::Read));
        if !matches!(added, Some(Ok(()))) {
            drop(self.refused.read(number));
        }
    }

    /// Something has come from one of them.
    pub(super) fn hear_refused(&mut self, key: u64) {
        // It may be gone since the event happened.
        if let Some(socket) = self.refused.read((key - REFUSED) as u32) {
            self.poller.forget(socket.as_fd());
        }
    }

    /// Closes those whose time is over.
    pub(super) fn expire_refused(&mut self) {
        while let Some(socket) = self.refused.expire() {
            self.poller.forget(socket.as_fd());
        }
    }

    /// Closes all of them.
    pub(super) fn let_go_of_refused(&mut self) {
        while let Some(socket) = self.refused.take() {
            self.poller.forget(socket.as_fd());
        }
    }
}
