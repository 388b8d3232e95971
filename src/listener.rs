//! One bound socket of any protocol; accept(2) and its error table. It unlinks only its own socket file.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use socket2::{Domain, Socket, Type};

use crate::{
    config::{self, Protocol},
    error::Failure,
    guard::{self, Place},
    options::{self, Whose},
    peer::{Peer, Url},
    socket_file::SocketFile,
    sys::accept::accept_nonblocking,
};

mod places;

use places::{cannot_bind, is_absent};
pub use places::{places, words};

/// A socket that clients can reach.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    protocol: Protocol,
    address: Peer,
    /// Where it was to be bound, which is not the same with port 0.
    place: Option<Peer>,
    /// Sockets bound to the same port, for event loops that want one of their own.
    twins: Vec<Socket>,
    /// Whether it is the service manager's: then it is not shut down, because it serves on when we are gone.
    passed: bool,
    // After the socket: the file goes away once nobody can connect any more.
    file: Option<SocketFile>,
}

/// Why there was no connection to accept.
#[derive(Debug)]
pub enum Refusal {
    /// None waits, on a non-blocking socket.
    Nothing,
    /// A signal, or a connection that failed before it was accepted: try again.
    Again,
    /// No descriptors or memory are left: rest before trying again.
    Exhausted(io::Error),
    /// The socket is unusable.
    Broken(io::Error),
}

/// Binds all sockets of one entry of the configuration: every address of a name, every port of a range.
///
/// # Errors
/// The first that cannot be bound; those bound before are closed again, their files removed. With `optional`, an
/// address that this machine does not have is left out, and said in `notes`.
pub fn bind(settings: &config::Listener, notes: &mut Vec<String>) -> Result<Vec<Listener>, Failure> {
    bind_or_adopt(settings, |_| Ok(None), notes)
}

/// As [`bind`], but sockets that `adopt` finds for a place are used as they are.
pub fn bind_or_adopt(
    settings: &config::Listener,
    mut adopt: impl FnMut(&Peer) -> io::Result<Option<Listener>>,
    notes: &mut Vec<String>,
) -> Result<Vec<Listener>, Failure> {
    // Event loops share a port by sockets of their own; others share the socket.
    let twins = if settings.mode.is_event_loop() { settings.pool() - 1 } else { 0 };
    let mut bound = Vec::new();
    for address in &settings.address {
        for place in places(settings, address)? {
            let twins = if matches!(place, Peer::Inet(_)) { twins } else { 0 };
            let listener = match (adopt(&place).transpose(), twins) {
                (Some(adopted), _) => adopted,
                (None, 0) => Listener::bind(settings, &place),
                (None, count) => Listener::bind_with_twins(settings, &place, count),
            };
            match listener {
                Ok(listener) => bound.push(Listener { place: Some(place), ..listener }),
                Err(error) if settings.optional && is_absent(&error) => {
                    notes.push(format!(
                        "listener \"{}\": left out {}: {error}",
                        settings.name,
                        place.url(settings.protocol)
                    ));
                }
                Err(error) => return Err(cannot_bind(settings, &place, &error)),
            }
        }
    }
    Ok(bound)
}

impl Listener {
    fn bind(settings: &config::Listener, place: &Peer) -> io::Result<Listener> {
        let address = place.socket_address()?;
        let kind = if settings.protocol.is_stream() { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        options::before_bind(&socket, settings, place)?;
        let file = match place {
            Peer::Path(path) => Some(SocketFile::bind(&socket, &address, path, settings)?),
            _ => {
                socket.bind(&address)?;
                None
            }
        };
        listen(&socket, settings)?;
        let mut listener = Listener::adopt(socket, settings.protocol)?;
        listener.file = file;
        Ok(listener)
    }

    /// As [`Listener::bind`], with `count` twins that share the port.
    fn bind_with_twins(settings: &config::Listener, place: &Peer, count: usize) -> io::Result<Listener> {
        // Port 0 is always free.
        if !settings.reuse_port && !matches!(place, Peer::Inet(address) if address.port() == 0) {
            // Among sockets that share a port the kernel would not notice another daemon's.
            drop(Listener::bind(settings, place)?);
        }
        let shared = config::Listener { reuse_port: true, ..settings.clone() };
        let mut listener = Listener::bind(&shared, place)?;
        let place = listener.address.clone();
        for _ in 0..count {
            listener.twins.push(Listener::bind(&shared, &place)?.socket);
        }
        Ok(listener)
    }

    /// A socket for another event loop: one of the twins, or this socket itself once more.
    pub fn twin(&mut self) -> io::Result<Listener> {
        let socket = self.twins.pop().map_or_else(|| self.socket.try_clone(), Ok)?;
        Ok(Listener::adopt(socket, self.protocol)?.of_manager(self.passed))
    }

    /// The socket alone.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// The same, said to be the service manager's or not.
    pub fn of_manager(self, passed: bool) -> Listener {
        Listener { passed, ..self }
    }

    /// Whether it is the service manager's.
    pub fn is_passed(&self) -> bool {
        self.passed
    }

    /// The socket and its twins, each as a listener.
    pub fn separate(mut self) -> Vec<Listener> {
        let (protocol, passed) = (self.protocol, self.passed);
        let twins = std::mem::take(&mut self.twins).into_iter();
        let twins: Vec<_> = twins.filter_map(|twin| Listener::adopt(twin, protocol).ok()).collect();
        std::iter::once(self).chain(twins.into_iter().map(|twin| twin.of_manager(passed))).collect()
    }

    /// The same sockets once more, without the file.
    pub fn try_clone(&self) -> io::Result<Listener> {
        let twins: io::Result<Vec<Socket>> = self.twins.iter().map(Socket::try_clone).collect();
        let place = self.place.clone();
        let listener = Listener::adopt(self.socket.try_clone()?, self.protocol)?.of_manager(self.passed);
        Ok(Listener { twins: twins?, place, ..listener })
    }

    /// Makes sockets of another generation as `settings` want them now, as far as that is possible.
    pub fn adapt(&self, settings: &config::Listener) -> io::Result<()> {
        for socket in std::iter::once(&self.socket).chain(&self.twins) {
            // Whoever had it before may have left it otherwise.
            socket.set_nonblocking(false)?;
            options::when_bound(socket, settings, &self.address)?;
            if let Peer::Inet(address) = self.address {
                let whose = if self.passed { Whose::Manager } else { Whose::Ours };
                options::guard(socket, settings, address, whose)?;
            }
            if !self.passed {
                listen(socket, settings)?;
            }
        }
        Ok(())
    }

    /// Whether it is bound there, or was to be.
    pub fn is_at(&self, place: &Peer) -> bool {
        self.place.as_ref() == Some(place) || self.address == *place
    }

    /// Whether a service manager gave it to us by the name of the listener.
    pub fn is_named(&self) -> bool {
        self.place.is_none() && self.passed
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
        Ok(Listener { socket, protocol, address, place: None, twins: Vec::new(), passed: false, file: None })
    }

    /// Accepts one connection. The new socket blocks, whatever this one does.
    pub fn accept(&self) -> Result<(Socket, Peer), Refusal> {
        match self.socket.accept() {
            Ok((socket, peer)) => Ok((socket, Peer::from(&peer))),
            Err(error) => Err(refusal(error)),
        }
    }

    /// As [`Listener::accept`], but the new socket does not block.
    pub fn accept_nonblocking(&self) -> Result<(Socket, Peer), Refusal> {
        match accept_nonblocking(self.socket.as_fd()) {
            Ok((socket, peer)) => Ok((socket, Peer::from(&peer))),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Refuses all clients from now on, also where other processes have a copy of this socket; but not if it is the service
    /// manager's: there they wait for the next daemon.
    pub fn refuse(&self) {
        if self.passed {
            return;
        }
        // It fails only where that has been done before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
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
    pub fn place(&self) -> Place {
        match self.address {
            Peer::Inet(address) => Place::of(address),
            _ => Place::Loopback,
        }
    }

    /// All sockets of its own that clients may reach: itself and its twins.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.socket).chain(&self.twins)
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

/// See accept(2), "Error handling": errors of the network that is pending on the new socket mean "again".
fn refusal(error: io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Refusal::Nothing,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Refusal::Exhausted(error),
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
        ) => Refusal::Again,
        _ => Refusal::Broken(error),
    }
}

/// Lets clients connect, or changes how many of them may wait.
fn listen(socket: &Socket, settings: &config::Listener) -> io::Result<()> {
    if !settings.protocol.is_stream() {
        return Ok(());
    }
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    // The kernel lowers it to net.core.somaxconn.
    socket.listen(if backlog == 0 { i32::MAX } else { backlog })
}
