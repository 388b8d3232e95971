//! Readiness: which of many descriptors has something to do. select(2), poll(2) and epoll(7) under one contract.
//!
//! A descriptor is registered under a key of the caller's choice, which comes back with every event. It is to be removed
//! before it is closed. Events may be spurious (select(2), BUGS), so every descriptor must be non-blocking; and an event
//! may be about a key that was removed while the same batch was worked off, so keys must not be used twice.

use std::{io, os::fd::BorrowedFd, time::Duration};

use socket2::Socket;

use super::transport::{SocketTransport, Transport};

mod epoll;
mod poll;
mod select;

pub use epoll::Epoll;
pub use poll::Poll;
pub use select::{LIMIT as SELECT_LIMIT, Select};

/// What one of the three mechanisms does for an event loop.
pub trait Poller {
    /// Whether an event comes once for each change, so that everything must be drained before the next wait.
    const EDGE: bool = false;

    /// Whether `fd` can be watched at all.
    ///
    /// # Errors
    /// If `select` cannot hold a descriptor of this number (`InvalidInput`).
    fn admits(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Begins to watch `fd`.
    ///
    /// # Errors
    /// If there is no memory, or as [`Poller::admits`].
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()>;

    /// Begins to watch a connection for input, whose bytes go by [`Poller::transport`].
    ///
    /// # Errors
    /// As [`Poller::add`].
    fn add_transport(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add(fd, key, Interest::Read)
    }

    /// Changes what is watched for.
    fn modify(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()>;

    /// A socket that is watched with [`Interest::Accept`] has much to receive and to send from now on, or not any more.
    ///
    /// # Errors
    /// As [`Poller::add`].
    fn set_busy(&mut self, _fd: BorrowedFd<'_>, _key: u64, _busy: bool) -> io::Result<()> {
        Ok(())
    }

    /// Ends watching.
    fn remove(&mut self, fd: BorrowedFd<'_>);

    /// Ends watching a descriptor that is closed next, if it was watched, and that has no duplicate anywhere.
    fn forget(&mut self, fd: BorrowedFd<'_>) {
        self.remove(fd);
    }

    /// The line that carries the bytes of a connection which is watched, or is not yet, with `scratch` for a buffer.
    fn transport<'a>(&'a mut self, socket: &'a Socket, scratch: &'a mut [u8]) -> impl Transport + 'a {
        SocketTransport::new(socket, scratch)
    }

    /// Waits until something happens, or `time` is over (rounded up to what the mechanism can tell), and fills `events`.
    ///
    /// # Errors
    /// EINTR among others; then there are no events.
    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()>;
}

/// What a descriptor is watched for. Errors and hang-ups are always told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interest {
    #[default]
    /// Input, or a connection to accept.
    Read,
    /// Room to send.
    Write,
    /// The same for a listening socket that several loops share: only one of them need be woken.
    Accept,
}

/// Whether an error of a [`Poller`] passes: the kernel is short of memory, or of what it allows a user, for the moment.
pub fn passes(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    let passing = [EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Of which descriptor.
    pub key: u64,
    /// There is input, or may be.
    pub readable: bool,
    /// The peer has ended its side, or the connection has failed, or there is urgent data: a short read is not the last.
    pub hangup: bool,
}

/// Events that one wait tells at most.
const MOST: usize = 1024;

/// A time in whole milliseconds for poll(2) and epoll(7): -1 for ever, and never less than was asked for.
fn milliseconds(time: Option<Duration>) -> i32 {
    time.map_or(-1, |time| i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
