//! The ends of connections that a plan of faults holds. The poller of the loop does not watch their sockets, because whatever
//! those are ready for has to wait, and because select(2) cannot ask for errors alone. So an epoll(7) instance of their own
//! tells of hang-ups and errors, in every mode; the poller watches that instance as one descriptor.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{EventLoop, LoopConnection};
use crate::{faults, sys::poller::Poller};

/// Hang-ups read at once.
const MOST: usize = 64;

/// The sockets of connections that are held.
pub(super) struct HangUps(Epoll);

impl HangUps {
    pub(super) fn new() -> io::Result<HangUps> {
        Ok(HangUps(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Watches a socket, which may have hung up already. The end of the peer's side alone is no hang-up. To close the socket ends
    /// this as well.
    pub(super) fn watch(&self, socket: impl AsFd, key: u64) -> io::Result<()> {
        // Errors and hang-ups are always reported, here once: a connection that goes on at its time is left alone until then.
        Ok(self.0.add(socket, EpollEvent::new(EpollFlags::EPOLLET, key))?)
    }

    /// Has a hang-up that was told before told again: the connection has moved on meanwhile.
    pub(super) fn watch_again(&self, socket: impl AsFd, key: u64) -> io::Result<()> {
        Ok(self.0.modify(socket, &mut EpollEvent::new(EpollFlags::EPOLLET, key))?)
    }

    pub(super) fn unwatch(&self, socket: impl AsFd) {
        // Fails only if it was not watched.
        let _ = self.0.delete(socket);
    }

    /// The keys of connections that have hung up; empty when all are told.
    fn take(&self) -> Vec<u64> {
        let mut events = [EpollEvent::empty(); MOST];
        let count = self.0.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        events[..count].iter().map(EpollEvent::data).collect()
    }
}

impl AsFd for HangUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Closes held connections whose clients are gone.
    pub(super) fn close_hung_up(&mut self) {
        while let Some(keys) = self.holds.as_ref().map(|holds| holds.hang_ups.take())
            && !keys.is_empty()
        {
            for key in keys {
                if let Some(LoopConnection { socket, connection, faults: Some(held), .. }) =
                    self.connections.get_mut(key)
                    && held.parked
                    && let Some(end) = faults::end_at_hang_up(connection, socket, &held.faults)
                {
                    self.close_connection(key, end);
                }
            }
        }
    }
}
