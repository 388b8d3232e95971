//! One bound socket of any protocol: accept(2) and its error table. It unlinks only its own socket file.

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

/// A socket that clients can reach, and its siblings in the SO_REUSEPORT group.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) protocol: Protocol,
    /// Whether it is one of MPTCP, whose connections inherit fewer options.
    pub(super) is_mptcp: bool,
    pub(super) address: Peer,
    /// The address that it was to be bound to, which differs from the real one with port 0.
    pub(super) place: Option<Peer>,
    /// Other sockets of the same port (SO_REUSEPORT), for event loops that want one of their own.
    pub(super) reuseport_siblings: Vec<Socket>,
    pub(super) owner: SocketOwner,
    /// The socket unit of a socket that was passed.
    pub(super) unit: Option<Arc<Unit>>,
    // Dropped after the socket: the file is removed once no client can connect any more.
    pub(super) file: Option<SocketFile>,
}

/// Why accept(2) returned no connection.
#[derive(Debug)]
pub enum AcceptError {
    /// EAGAIN: the backlog of a non-blocking socket is empty.
    WouldBlock,
    /// A signal, or a connection that failed before it was accepted: try again.
    Retry,
    /// Descriptors or memory ran out: back off before trying again.
    Exhausted(io::Error),
    /// The socket is unusable.
    Fatal(io::Error),
}

impl Listener {
    /// A socket for another event loop: a reuseport sibling, or a duplicate of this socket.
    pub fn reuseport_sibling(&mut self) -> io::Result<Listener> {
        let socket = self.reuseport_siblings.pop().map_or_else(|| self.socket.try_clone(), Ok)?;
        Ok(self.sibling(socket))
    }

    /// A listener for another socket of this port, or for a duplicate of this one. The address is copied: that of a
    /// socket after [`Listener::keep_clients_away`] may have changed.
    pub(super) fn sibling(&self, socket: Socket) -> Listener {
        let (protocol, address, owner) = (self.protocol, self.address.clone(), self.owner);
        Listener {
            socket,
            protocol,
            is_mptcp: self.is_mptcp,
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

    /// The same listener with another owner.
    pub fn of(self, owner: SocketOwner) -> Listener {
        Listener { owner, ..self }
    }

    /// The owner of the socket.
    pub fn owner(&self) -> SocketOwner {
        self.owner
    }

    /// Sets whether the service manager keeps a socket that we made. No later daemon configures one that ends with us,
    /// so its filter is locked.
    pub fn keep(&mut self, kept: bool) {
        self.owner = if kept { SocketOwner::Stored } else { SocketOwner::Own };
        self.lock_filter();
    }

    fn lock_filter(&self) {
        if self.owner == SocketOwner::Own && self.protocol == Protocol::Udp {
            // The filter works without the lock, too.
            self.sockets().for_each(|socket| _ = options::lock_filter(socket));
        }
    }

    /// The socket and its reuseport siblings, each as a listener.
    pub fn separate(mut self) -> Vec<Listener> {
        let siblings = std::mem::take(&mut self.reuseport_siblings).into_iter();
        let siblings: Vec<_> = siblings.map(|socket| self.sibling(socket)).collect();
        std::iter::once(self).chain(siblings).collect()
    }

    /// Duplicates of all its sockets, without the file.
    pub fn try_clone(&self) -> io::Result<Listener> {
        let siblings: io::Result<Vec<Socket>> =
            self.reuseport_siblings.iter().map(Socket::try_clone).collect();
        let listener = self.sibling(self.socket.try_clone()?);
        Ok(Listener { reuseport_siblings: siblings?, place: self.place.clone(), ..listener })
    }

    /// Applies `settings` to sockets that had other ones before.
    pub fn reconfigure(&self, settings: &config::Listener) -> io::Result<()> {
        for socket in self.sockets() {
            let usual = self.unit.as_ref().map_or_else(|| Usual::of_new(socket), |unit| Ok(unit.usual))?;
            options::renew(socket, settings, &self.address, &usual)?;
        }
        if self.owner != SocketOwner::Activated {
            // A socket that replaces another one begins to listen here, beside it for the moment.
            self.share_port(true)?;
            self.sockets().try_for_each(|socket| options::listen(socket, settings))?;
            self.share_port(settings.reuse_port || !self.reuseport_siblings.is_empty())?;
        }
        self.lock_filter();
        Ok(())
    }

    /// Lets other sockets of this user be bound to the same port (SO_REUSEPORT), or not.
    pub fn share_port(&self, share: bool) -> io::Result<()> {
        match self.address {
            Peer::Inet(_) if self.owner != SocketOwner::Activated => {
                self.sockets().try_for_each(|socket| socket.set_reuse_port(share))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is bound to `place`, or was to be.
    pub fn is_at(&self, place: &Peer) -> bool {
        self.place.as_ref() == Some(place) || self.address.is_same(place)
    }

    /// The address that it was to be bound to, and the real one.
    pub fn places(&self) -> impl Iterator<Item = &Peer> {
        self.place.iter().chain([&self.address])
    }

    /// Whether `settings` can be applied to it. (A socket that was passed is taken as it is.)
    pub fn is_fit(&self, settings: &config::Listener) -> bool {
        let misfit = || options::misfit(&self.socket, settings, &self.address);
        self.owner == SocketOwner::Activated || misfit().is_ok_and(|key| key.is_none())
    }

    /// Whether its sockets are of MPTCP.
    pub fn is_mptcp(&self) -> bool {
        self.is_mptcp
    }

    /// The kind of socket.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A listener for a socket that is bound already, maybe by another process of the daemon.
    pub fn adopt(socket: Socket, protocol: Protocol) -> io::Result<Listener> {
        let address = Peer::from(&socket.local_addr()?);
        if let (Protocol::Udp, Peer::Inet(address)) = (protocol, &address) {
            // The guard must know: an answer to one of our own listeners would be answered.
            guard::own_ports()?.insert(*address);
        }
        let (place, reuseport_siblings, owner, unit, file) = (None, Vec::new(), SocketOwner::Own, None, None);
        let is_mptcp = protocol == Protocol::Tcp && options::is_mptcp(&socket);
        Ok(Listener { socket, protocol, is_mptcp, address, place, reuseport_siblings, owner, unit, file })
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
        if self.protocol == Protocol::Unix || self.owner == SocketOwner::Activated || self.is_mptcp {
            options::when_accepted(&socket, self.protocol);
        }
        Ok((socket, Peer::from(&peer)))
    }

    /// Refuses all clients from now on, in every process that has a copy of this socket. Not if the service manager
    /// owns it: there clients wait for the next daemon.
    pub fn refuse(&self) {
        if self.owner == SocketOwner::Activated {
            return;
        }
        // It fails only if this was done before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if self.protocol.is_unix() && self.protocol.is_stream() {
            // At a TCP socket the kernel resets the clients in the backlog; here they would wait until the last copy of
            // it is closed. No client can connect any more, and accept(2) does not block (unix(7)).
            while matches!(self.accept(), Ok(_) | Err(AcceptError::Retry)) {}
        }
    }

    /// Leads new clients to the other sockets of the port, or to none; those in the backlog stay. So the last of them
    /// can be served before the socket is closed: at close(2) the kernel resets the connections that were not accepted.
    pub fn keep_clients_away(&self) {
        if self.owner == SocketOwner::Activated {
            return;
        }
        let Peer::Inet(address) = self.address else { return };
        // The next reload may need the port before the last of them is served.
        let _ = self.share_port(true);
        for socket in self.sockets() {
            // If this fails, a client that connects at the very moment of the close may be lost.
            let _ = match self.protocol {
                Protocol::Tcp => interface_index::bind(socket, interface_index::NO_INTERFACE),
                // A UDP socket still has answers to send, which needs an interface. Connected to itself, it receives
                // from no other.
                _ => socket.connect(&reachable(address).into()),
            };
        }
    }

    /// Sets O_NONBLOCK of this socket, for every process that shares it.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Whether datagrams come with their destination: only where the socket has several addresses.
    pub fn has_many_addresses(&self) -> bool {
        matches!(self.address, Peer::Inet(address) if address.ip().is_unspecified())
    }

    /// The scope of its address, for the guard of datagrams. Only this machine can reach a unix socket.
    pub fn place(&self) -> AddressScope {
        match self.address {
            Peer::Inet(address) => AddressScope::of(address),
            _ => AddressScope::Loopback,
        }
    }

    /// The socket and its reuseport siblings.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.socket).chain(&self.reuseport_siblings)
    }

    /// The address that it is bound to, with the real port.
    pub fn address(&self) -> &Peer {
        &self.address
    }

    /// That address, as a URL.
    pub fn url(&self) -> Url<'_> {
        self.address.url(self.protocol)
    }

    /// Sets the file of the socket.
    pub fn set_file(&mut self, file: SocketFile) {
        self.file = Some(file);
    }

    /// Takes the file of the socket, if it has one: the caller decides when it is removed.
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

/// The error table of accept(2), "Error handling": pending network errors of the new socket mean "try again".
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
