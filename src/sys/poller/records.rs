//! Connections that keep records apart, over any mechanism. Each record takes one system call: a ring, too, only reports readiness.

use std::{io, os::fd::BorrowedFd, time::Duration};

use socket2::Socket;

use super::{Interest, Poller, Readiness};
use crate::sys::transport::{RecordTransport, Transport};

/// The mechanism, for sockets of type SOCK_SEQPACKET.
pub struct Records<P>(pub P);

impl<P: Poller> Poller for Records<P> {
    const EDGE: bool = P::EDGE;
    const RECORDS: bool = true;

    fn admits(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.admits(fd)
    }

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.0.add(fd, key, interest)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.0.modify(fd, key, interest)
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        self.0.remove(fd);
    }

    fn forget(&mut self, fd: BorrowedFd<'_>) {
        self.0.forget(fd);
    }

    fn transport<'a>(&'a mut self, socket: &'a Socket, scratch: &'a mut [u8]) -> impl Transport + 'a {
        RecordTransport::new(socket, scratch)
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        self.0.wait(events, time)
    }
}
