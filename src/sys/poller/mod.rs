//! Readiness notification: select(2), poll(2) and epoll(7) behind one trait. `ring` implements it for io_uring(7).
//!
//! A descriptor is registered under a key that the caller chooses; every event carries that key. The descriptor has to be removed
//! before it is closed. Events may be spurious (select(2), BUGS), so every descriptor must be non-blocking. An event may carry a
//! key that was removed while the same batch was processed, so keys must not be reused.

use std::{io, os::fd::BorrowedFd, time::Duration};

use socket2::Socket;

use super::transport::{SocketTransport, Transport};

mod epoll;
mod poll;
mod records;
mod select;

pub use epoll::Epoll;
pub use poll::Poll;
pub use records::Records;
pub use select::{LIMIT as SELECT_LIMIT, Select};

/// A readiness mechanism, as an event loop uses it.
pub trait Poller {
    /// Edge-triggered: an event is reported once per change, so a descriptor must be drained before the next wait.
    const EDGE: bool = false;

    /// Whether its transports keep records apart, see [`Transport::RECORDS`].
    const RECORDS: bool = false;

    /// Whether the mechanism can watch `fd`.
    ///
    /// # Errors
    /// If `select` cannot hold a descriptor of this number (`InvalidInput`).
    fn admits(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Starts watching `fd`.
    ///
    /// # Errors
    /// If memory is short, or as [`Poller::admits`].
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()>;

    /// Starts watching a connection for input; its bytes go through [`Poller::transport`].
    ///
    /// # Errors
    /// As [`Poller::add`].
    fn add_transport(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add(fd, key, Interest::Read)
    }

    /// Changes the interest in `fd`.
    fn modify(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()>;

    /// Tells the poller whether a socket that is watched with [`Interest::Accept`] carries much traffic from now on.
    ///
    /// # Errors
    /// As [`Poller::add`].
    fn set_busy(&mut self, _fd: BorrowedFd<'_>, _key: u64, _busy: bool) -> io::Result<()> {
        Ok(())
    }

    /// Stops watching `fd`.
    fn remove(&mut self, fd: BorrowedFd<'_>);

    /// Stops watching `fd`, which is closed next, and of which no duplicate exists. It need not be watched.
    fn forget(&mut self, fd: BorrowedFd<'_>) {
        self.remove(fd);
    }

    /// The transport for a connection, which need not be watched yet. `scratch` is its buffer.
    fn transport<'a>(&'a mut self, socket: &'a Socket, scratch: &'a mut [u8]) -> impl Transport + 'a {
        SocketTransport::new(socket, scratch)
    }

    /// Waits for events, or until `time` is over (rounded up to the resolution of the mechanism), and fills `events`.
    ///
    /// # Errors
    /// EINTR among others; `events` is empty then.
    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()>;
}

/// What a descriptor is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interest {
    #[default]
    /// Input, or a connection to accept.
    Read,
    /// Room in the send buffer.
    Write,
    /// Input on a listening socket that several loops share: the kernel needs to wake only one of them.
    Accept,
}

/// Whether an error of a [`Poller`] is temporary: the kernel is short of memory, or the user is at a limit.
pub fn passes(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    let passing = [EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The key of the descriptor.
    pub key: u64,
    /// There is input, or there may be.
    pub readable: bool,
    /// The peer has shut down its side, the connection has failed, or urgent data has arrived: a short read does not mean that
    /// the socket is drained.
    pub hangup: bool,
}

/// Events per wait, at most.
const MOST: usize = 1024;

/// A time-out for poll(2) and epoll(7): whole milliseconds, rounded up; -1 means no time-out.
fn milliseconds(time: Option<Duration>) -> i32 {
    time.map_or(-1, |time| i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
