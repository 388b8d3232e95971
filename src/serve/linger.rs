//! Refused clients that are still to read their message: closing a socket with unread input resets the connection, and
//! the reset may overtake the message. Their number, their time and their input are bounded.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::Socket;

use crate::{stream::connection::LINGER, sys::record};

/// Clients that may linger at once, for each worker that accepts. Further ones are closed at once.
pub const MOST: usize = 64;

/// Input in bytes that is discarded for one client, at most.
const BYTES: usize = 1 << 20;

/// Refused clients, in the order of their arrival. All have the same time, so the first one expires first.
#[derive(Default)]
pub struct LingerList {
    clients: VecDeque<Refused>,
    next: u32,
}

struct Refused {
    number: u32,
    socket: Socket,
    due: Instant,
    /// Input in bytes that may still be discarded.
    left: usize,
}

impl LingerList {
    /// Whether there is no room for another client.
    pub fn is_full(&self) -> bool {
        self.clients.len() >= MOST
    }

    /// Whether no client lingers.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Adds a client whose socket was half-closed, and returns its number; closes the socket if there is no room.
    pub fn add(&mut self, socket: Socket) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let number = self.next;
        // Far fewer clients linger at once, so the numbers are unique.
        self.next = (number + 1) % (1 << 30);
        self.clients.push_back(Refused { number, socket, due: Instant::now() + LINGER, left: BYTES });
        Some(number)
    }

    /// Numbers and sockets of all clients.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.clients.iter().map(|client| (client.number, client.socket.as_fd()))
    }

    /// When the first client expires.
    pub fn due(&self) -> Option<Instant> {
        self.clients.front().map(|client| client.due)
    }

    /// Discards what a client has sent. Returns its socket, to be closed, if the client has closed or sent too much.
    pub fn read(&mut self, number: u32) -> Option<Socket> {
        let at = self.clients.iter().position(|client| client.number == number)?;
        if self.clients[at].goes_on() {
            return None;
        }
        self.clients.remove(at).map(|client| client.socket)
    }

    /// The socket of a client that has expired, to be closed.
    pub fn expire(&mut self) -> Option<Socket> {
        self.due().filter(|due| *due <= Instant::now())?;
        self.take()
    }

    /// The socket of any client, to be closed now.
    pub fn take(&mut self) -> Option<Socket> {
        self.clients.pop_front().map(|client| client.socket)
    }

    /// Waits until every client has closed or expired.
    pub fn finish(mut self) {
        while let Some(due) = self.due() {
            let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let mut polled: Vec<_> =
                self.sockets().map(|(_, fd)| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let ready = poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            if ready.is_err_and(|errno| errno != Errno::EINTR) {
                return;
            }
            self.clients.retain_mut(|client| client.due > Instant::now() && client.goes_on());
        }
    }
}

impl Refused {
    /// Discards what has arrived; false if the client has closed or sent too much.
    fn goes_on(&mut self) -> bool {
        loop {
            match record::discard(&self.socket) {
                // An empty record counts as well.
                Ok(Some(n)) if n < self.left => self.left -= n.max(1),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;

    fn pair() -> (UnixStream, Socket) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, Socket::from(OwnedFd::from(theirs)))
    }

    #[test]
    fn a_client_stays_until_it_has_ended() {
        let mut list = LingerList::default();
        let (mut client, socket) = pair();
        let number = list.add(socket).unwrap();
        client.write_all(b"once").unwrap();
        assert!(list.read(number).is_none() && list.expire().is_none());
        client.write_all(b"twice").unwrap();
        drop(client);
        assert!(list.read(number).is_some() && list.is_empty() && list.read(number).is_none());
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut list = LingerList::default();
        let clients: Vec<_> = (0..=MOST)
            .map(|n| {
                let (client, socket) = pair();
                assert_eq!(list.add(socket).is_some(), n < MOST);
                client
            })
            .collect();
        let mut last = clients.last().unwrap();
        assert_eq!(last.read(&mut [0]).unwrap(), 0, "it is closed");
    }

    #[test]
    fn a_client_may_not_send_for_ever() {
        let mut list = LingerList::default();
        let (mut client, socket) = pair();
        let number = list.add(socket).unwrap();
        client.set_nonblocking(true).unwrap();
        let sent = (0..).take_while(|_| {
            let _ = client.write(&[0; 65_536]);
            list.read(number).is_none()
        });
        assert!(sent.count() <= BYTES / 4096);
    }
}
