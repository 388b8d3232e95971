//! A socket that sends datagrams to the server. It is not connected, so that an answer from elsewhere is seen, too.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    net::{RecvFlags, recvfrom},
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Subject, complaint::Trouble, ready::ready};
use crate::{config::Protocol, sys::error_queue};

/// A datagram may be lost on its way, which is nobody's fault: so often one is sent before its silence counts.
pub(super) const ATTEMPTS: usize = 3;

/// More than the longest datagram of UDP.
const LONGEST: usize = 66_000;

/// A source port of datagrams, or the like of it on a unix socket.
pub(super) struct SourcePort {
    socket: Socket,
    to: SockAddr,
    patience: Duration,
}

/// An answer.
#[derive(Debug)]
pub(super) struct DatagramReply {
    pub(super) bytes: Vec<u8>,
    /// Where it came from, if that is an internet address.
    pub(super) from: Option<SocketAddr>,
}

impl SourcePort {
    pub(super) fn open(subject: &Subject) -> Result<Self, Trouble> {
        Self::prepared(subject).map_err(Trouble::Failed)
    }

    fn prepared(subject: &Subject) -> io::Result<Self> {
        let to = subject.target.peer.socket_address()?;
        let socket = Socket::new(Domain::from(i32::from(to.family())), Type::DGRAM, None)?;
        match subject.target.protocol {
            // To be answered it needs an address: binding to an empty one autobinds ("Autobind feature" in unix(7)).
            Protocol::UnixDatagram => socket.bind(&SockAddr::unix("")?)?,
            // So that a closed port is told to a socket that is not connected.
            _ => error_queue::enable(&socket, to.is_ipv6(), true)?,
        }
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to, patience: subject.patience })
    }

    /// Its own address as far as it is known, if it is an internet address: the port, once something was sent.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// As [`SourcePort::ask_again`], from a port of its own.
    pub(super) fn ask(subject: &Subject, request: &[u8]) -> Result<DatagramReply, Trouble> {
        Self::open(subject)?.ask_again(request)
    }

    /// Asks, again if there is silence; the answer, if there is one.
    pub(super) fn ask_again(&self, request: &[u8]) -> Result<DatagramReply, Trouble> {
        for _ in 0..ATTEMPTS {
            self.send(request)?;
            if let Some(answer) = self.receive(self.patience)? {
                return Ok(answer);
            }
        }
        Err(Trouble::Silent { waited: self.patience * ATTEMPTS as u32, received: 0 })
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Trouble> {
        let until = Instant::now() + self.patience;
        loop {
            let error = match self.socket.send_to(bytes, &self.to) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // The queue of a unix socket is full; of the server's queue poll(2) does not tell.
                Some(libc::EAGAIN | libc::ENOBUFS) if Instant::now() < until => {
                    ready(&self.socket, PollFlags::empty(), Instant::now() + Duration::from_millis(5))?;
                }
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    return Err(Trouble::Unread { waited: self.patience, sent: 0 });
                }
                Some(libc::EMSGSIZE) => return Err(Trouble::TooLong { length: bytes.len() }),
                _ => return Err(nobody(error)),
            }
        }
    }

    /// The next answer, if one comes before that time is over.
    pub(super) fn receive(&self, patience: Duration) -> Result<Option<DatagramReply>, Trouble> {
        let until = Instant::now() + patience;
        let mut bytes = vec![0; LONGEST];
        loop {
            if ready(&self.socket, PollFlags::IN, until)?.is_empty() {
                return Ok(None);
            }
            match recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty()) {
                Ok((n, _, from)) => {
                    bytes.truncate(n);
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    return Ok(Some(DatagramReply { bytes, from }));
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(nobody(error.into())),
            }
        }
    }
}

/// What an error of a datagram socket means: mostly what the server's machine or a router told.
fn nobody(error: io::Error) -> Trouble {
    let is_address = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EPROTOTYPE | libc::EACCES));
    match error_queue::may_be_feedback(&error) || is_address {
        true => Trouble::Nobody(error),
        false => Trouble::Failed(error),
    }
}
