//! One bound socket of any protocol; accept(2) and its error table. It unlinks only its own socket file.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use socket2::{SockAddr, Socket};

use crate::{
    access::guard::{self, AddressScope},
    config::{self, Protocol},
    socket::{
        address::{Peer, Url},
        options::{self, Usual},
        socket_file::SocketFile,
    },
    sys::{accept::accept_nonblocking, interface_index},
};

pub use crate::socket::owner::SocketOwner;
pub(super) mod unit;

use unit::Unit;

/// A socket that clients can reach.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) protocol: Protocol,
    pub(super) address: Peer,
    /// Where it was to be bound, which is not the same with port 0.
    pub(super) place: Option<Peer>,
    /// Sockets bound to the same port, for event loops that want one of their own.
    pub(super) reuseport_siblings: Vec<Socket>,
    pub(super) owner: SocketOwner,
    /// Of one that was passed.
    pub(super) unit: Option<Arc<Unit>>,
    // After the socket: the file goes away once nobody can connect any more.
    pub(super) file: Option<SocketFile>,
}

/// Why there was no connection to accept.
#[derive(Debug)]
pub enum AcceptError {
    /// None waits, on a non-blocking socket.
    WouldBlock,
    /// A signal, or a connection that failed before it was accepted: try again.
    Retry,
    /// No descriptors or memory are left: rest before trying again.
    Exhausted(io::Error),
    /// The socket is unusable.
    Fatal(io::Error),
}

impl Listener {
    /// A socket for another event loop: one of the twins, or this socket itself once more.
    pub fn reuseport_sibling(&mut self) -> io::Result<Listener> {
        let socket = self.reuseport_siblings.pop().map_or_else(|| self.socket.try_clone(), Ok)?;
        Ok(self.sibling(socket))
    }

    /// Another socket of this port, or this one once more. Its address is not asked for: that of one that clients have been kept
    /// from may have changed.
    pub(super) fn sibling(&self, socket: Socket) -> Listener {
        let (protocol, address, owner) = (self.protocol, self.address.clone(), self.owner);
        Listener {
            socket,
            protocol,
            address,
            place: None,
            reuseport_siblings: Vec::new(),
            owner,
            unit: self.unit.clone(),
            file: None,
        }
    }

    /// The socket alone.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// The same as somebody else's.
    pub fn of(self, owner: SocketOwner) -> Listener {
        Listener { owner, ..self }
    }

    /// Whose it is.
    pub fn owner(&self) -> SocketOwner {
        self.owner
    }

    /// Says whether the service manager is to keep a socket that we made. One that is ours alone is never told otherwise: its
    /// filter is locked.
    pub fn keep(&mut self, kept: bool) {
        self.owner = if kept { SocketOwner::Stored } else { SocketOwner::Own };
        self.lock_filter();
    }

    fn lock_filter(&self) {
        if self.owner == SocketOwner::Own && self.protocol == Protocol::Udp {
            // Without the lock it is as good a filter.
            self.sockets().for_each(|socket| _ = options::lock_filter(socket));
        }
    }

    /// The socket and its twins, each as a listener.
    pub fn separate(mut self) -> Vec<Listener> {
        let reuseport_siblings = std::mem::take(&mut self.reuseport_siblings).into_iter();
        let reuseport_siblings: Vec<_> =
            reuseport_siblings.map(|reuseport_sibling| self.sibling(reuseport_sibling)).collect();
        std::iter::once(self).chain(reuseport_siblings).collect()
    }

    /// The same sockets once more, without the file.
    pub fn try_clone(&self) -> io::Result<Listener> {
        let reuseport_siblings: io::Result<Vec<Socket>> =
            self.reuseport_siblings.iter().map(Socket::try_clone).collect();
        let listener = self.sibling(self.socket.try_clone()?);
        Ok(Listener { reuseport_siblings: reuseport_siblings?, place: self.place.clone(), ..listener })
    }

    /// Makes sockets that others had before what `settings` say now.
    pub fn reconfigure(&self, settings: &config::Listener) -> io::Result<()> {
        for socket in self.sockets() {
            let usual = self.unit.as_ref().map_or_else(|| Usual::of_new(socket), |unit| Ok(unit.usual))?;
            options::renew(socket, settings, &self.address, &usual)?;
        }
        if self.owner != SocketOwner::Activated {
            // One that replaces another begins to listen here, beside it for the moment.
            self.share_port(true)?;
            self.sockets().try_for_each(|socket| options::listen(socket, settings))?;
            self.share_port(settings.reuse_port || !self.reuseport_siblings.is_empty())?;
        }
        self.lock_filter();
        Ok(())
    }

    /// Lets other sockets of this user be bound to the same port, or not.
    pub fn share_port(&self, share: bool) -> io::Result<()> {
        match self.address {
            Peer::Inet(_) if self.owner != SocketOwner::Activated => {
                self.sockets().try_for_each(|socket| socket.set_reuse_port(share))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is bound there, or was to be.
    pub fn is_at(&self, place: &Peer) -> bool {
        self.place.as_ref() == Some(place) || self.address.is_same(place)
    }

    /// Where it is bound, and where it was to be.
    pub fn places(&self) -> impl Iterator<Item = &Peer> {
        self.place.iter().chain([&self.address])
    }

    /// Whether it can be made what `settings` say. (One that was passed is taken as it is.)
    pub fn is_fit(&self, settings: &config::Listener) -> bool {
        let misfit = || options::misfit(&self.socket, settings, &self.address);
        self.owner == SocketOwner::Activated || misfit().is_ok_and(|key| key.is_none())
    }

    /// The kind of socket.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A socket that is bound already, by another process of the daemon.
    pub fn adopt(socket: Socket, protocol: Protocol) -> io::Result<Listener> {
        let address = Peer::from(&socket.local_addr()?);
        if let (Protocol::Udp, Peer::Inet(address)) = (protocol, &address) {
            // An answer to a listener of our own would be answered.
            guard::own_ports()?.insert(*address);
        }
        let (place, reuseport_siblings, owner, unit, file) = (None, Vec::new(), SocketOwner::Own, None, None);
        Ok(Listener { socket, protocol, address, place, reuseport_siblings, owner, unit, file })
    }

    /// Accepts one connection. The new socket blocks, whatever this one does.
    pub fn accept(&self) -> Result<(Socket, Peer), AcceptError> {
        self.accepted(self.socket.accept())
    }

    /// As [`Listener::accept`], but the new socket does not block.
    pub fn accept_nonblocking(&self) -> Result<(Socket, Peer), AcceptError> {
        self.accepted(accept_nonblocking(self.socket.as_fd()))
    }

    fn accepted(&self, accepted: io::Result<(Socket, SockAddr)>) -> Result<(Socket, Peer), AcceptError> {
        let (socket, peer) = accepted.map_err(accept_error)?;
        if self.protocol == Protocol::Unix || self.owner == SocketOwner::Activated {
            options::when_accepted(&socket);
        }
        Ok((socket, Peer::from(&peer)))
    }

    /// Refuses all clients from now on, also where other processes have a copy of this socket; but not if it is the service
    /// manager's: there they wait for the next daemon.
    pub fn refuse(&self) {
        if self.owner == SocketOwner::Activated {
            return;
        }
        // It fails only where that has been done before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if self.protocol == Protocol::Unix {
            // The kernel resets those who wait at a TCP socket. Here they would wait until the last copy of it is closed. Nobody
            // can connect any more, and an accept does not wait (unix(7)).
            while matches!(self.accept(), Ok(_) | Err(AcceptError::Retry)) {}
        }
    }

    /// Leaves new clients to the other sockets of the port, or to nobody; those that are here already wait on. Then the last of them
    /// can be served before the socket is closed: the kernel resets whoever still waits in one that closes.
    pub fn keep_clients_away(&self) {
        if self.owner == SocketOwner::Activated {
            return;
        }
        let Peer::Inet(address) = self.address else { return };
        for socket in self.sockets() {
            // The next reload may want the port before the last of them is served.
            let _ = socket.set_reuse_port(true);
            // If that fails a client may be lost that comes in the very moment of the end.
            let _ = match self.protocol {
                Protocol::Tcp => interface_index::bind(socket, interface_index::NO_INTERFACE),
                // It is to send answers yet, which it could not without an interface. Connected, to itself, it gets nothing
                // from others.
                _ => socket.connect(&reachable(address).into()),
            };
        }
    }

    /// Whether calls on this socket, in every process that shares it, return instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Whether datagrams come with the address that they were sent to: only where the socket has several.
    pub fn has_many_addresses(&self) -> bool {
        matches!(self.address, Peer::Inet(address) if address.ip().is_unspecified())
    }

    /// Where it is bound, as the guard of datagrams sees it. A unix socket is nobody's but this machine's.
    pub fn place(&self) -> AddressScope {
        match self.address {
            Peer::Inet(address) => AddressScope::of(address),
            _ => AddressScope::Loopback,
        }
    }

    /// All sockets of its own that clients may reach: itself and its twins.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.socket).chain(&self.reuseport_siblings)
    }

    /// Where it is bound, with the real port.
    pub fn address(&self) -> &Peer {
        &self.address
    }

    /// Where it is bound, as a URL.
    pub fn url(&self) -> Url<'_> {
        self.address.url(self.protocol)
    }

    /// Gives it the file that is its socket's.
    pub fn set_file(&mut self, file: SocketFile) {
        self.file = Some(file);
    }

    /// The socket's file, if it has one: whoever takes it decides when it is removed.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An address that leads to a socket bound to `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// See accept(2), "Error handling": errors of the network that is pending on the new socket mean "again".
fn accept_error(error: io::Error) -> AcceptError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => AcceptError::WouldBlock,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AcceptError::Exhausted(error),
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::ENETDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ETIMEDOUT
            | libc::EPERM,
        ) => AcceptError::Retry,
        _ => AcceptError::Fatal(error),
    }
}
