//! Clients that were refused with a message: they linger until they have read it.

use std::os::fd::AsFd;

use socket2::Socket;

use super::EventLoop;
use crate::{
    serve::listener_set::LingerList,
    sys::poller::{Interest, Poller},
};

/// First of the keys of refused clients; their numbers stay below this value too.
pub(super) const REFUSED: u64 = 1 << 31;

impl<P: Poller> EventLoop<'_, P> {
    /// Adopts clients that another worker has refused.
    pub(super) fn adopt_refused(&mut self, mut refused: LingerList) {
        while let Some(socket) = refused.take() {
            self.linger(socket);
        }
    }

    /// Reads and discards what a refused client sends until it closes. One that cannot be polled is closed at once.
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

    /// A refused client has sent something, or has closed.
    pub(super) fn read_refused(&mut self, key: u64) {
        // Stale event: it may be closed already.
        if let Some(socket) = self.refused.read((key - REFUSED) as u32) {
            self.poller.forget(socket.as_fd());
        }
    }

    /// Closes those whose linger time is over.
    pub(super) fn expire_refused(&mut self) {
        while let Some(socket) = self.refused.expire() {
            self.poller.forget(socket.as_fd());
        }
    }

    /// Closes all of them.
    pub(super) fn close_refused(&mut self) {
        while let Some(socket) = self.refused.take() {
            self.poller.forget(socket.as_fd());
        }
    }
}
