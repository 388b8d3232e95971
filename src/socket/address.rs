//! The address of a peer, or of a bound socket, and how it is written.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use socket2::SockAddr;

use crate::{
    config::Protocol, report::decimal::Decimal, service::request::RequestAddress,
    sys::credentials::PeerProcess,
};

/// The address of a peer, or of a bound socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A unix socket with a file.
    Path(Box<Path>),
    /// A unix socket in the abstract namespace.
    Abstract(Box<[u8]>),
    /// A unix socket that is not bound, as those of most clients.
    Unnamed,
}

impl From<&SockAddr> for Peer {
    fn from(address: &SockAddr) -> Peer {
        if let Some(inet) = address.as_socket() {
            return Peer::Inet(inet);
        }
        match (address.as_pathname(), address.as_abstract_namespace()) {
            (Some(path), _) => Peer::Path(path.into()),
            (None, Some(name)) => Peer::Abstract(name.into()),
            (None, None) => Peer::Unnamed,
        }
    }
}

impl<'a> From<&'a Peer> for RequestAddress<'a> {
    fn from(peer: &'a Peer) -> RequestAddress<'a> {
        match peer {
            Peer::Inet(address) => RequestAddress::Inet(*address),
            Peer::Path(path) => RequestAddress::Path(path.as_os_str().as_bytes()),
            Peer::Abstract(name) => RequestAddress::Abstract(name),
            Peer::Unnamed => RequestAddress::Unnamed,
        }
    }
}

impl Peer {
    /// A unix socket with this `sun_path`.
    pub fn unix(name: &[u8]) -> Peer {
        match name {
            [] => Peer::Unnamed,
            [0, name @ ..] => Peer::Abstract(name.into()),
            path => Peer::Path(Path::new(OsStr::from_bytes(path.strip_suffix(b"\0").unwrap_or(path))).into()),
        }
    }

    /// The form that system calls take.
    ///
    /// # Errors
    /// If it is unnamed, or too long for a unix socket.
    pub fn socket_address(&self) -> io::Result<SockAddr> {
        match self {
            Peer::Inet(address) => Ok(SockAddr::from(*address)),
            Peer::Path(path) => SockAddr::unix(path),
            Peer::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", &**name].concat())),
            Peer::Unnamed => Err(ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Whether both are the same address: a path may be written in several ways.
    pub fn is_same(&self, other: &Peer) -> bool {
        let absolute = |path: &Path| std::path::absolute(path).ok();
        match (self, other) {
            (Peer::Path(path), Peer::Path(other)) if path.is_absolute() != other.is_absolute() => {
                absolute(path).is_some_and(|path| absolute(other) == Some(path))
            }
            _ => self == other,
        }
    }

    /// A number that a unix socket mostly shares with no other, the same in every process (FNV-1a).
    pub fn number(&self) -> u32 {
        let name = match self {
            Peer::Path(path) => path.as_os_str().as_bytes(),
            Peer::Abstract(name) => name,
            Peer::Inet(_) | Peer::Unnamed => &[],
        };
        name.iter().fold(0x811c_9dc5, |number, byte| (number ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }

    /// The address as a URL.
    pub fn url(&self, protocol: Protocol) -> Url<'_> {
        Url { protocol, address: self }
    }

    /// The client behind the address, for the log: `proxied_source` is its address, if a PROXY header named one.
    pub fn source(&self, protocol: Protocol, proxied_source: Option<SocketAddr>) -> ClientName<'_> {
        ClientName { peer: self.url(protocol), proxied_source: proxied_source.map(Peer::Inet), process: None }
    }
}

/// The address alone: `127.0.0.1:7`, `/run/echo.sock`, `@name`. A name that the peer chose is escaped.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // An IPv4 client of a dual-stack socket is written as IPv4.
            Peer::Inet(address) => match (address.ip().to_canonical(), address.port()) {
                (IpAddr::V4(ip), port) => {
                    let [first, rest @ ..] = ip.octets().map(Decimal);
                    first.fmt(f)?;
                    for octet in rest {
                        f.write_str(".")?;
                        octet.fmt(f)?;
                    }
                    f.write_str(":")?;
                    Decimal(port).fmt(f)
                }
                _ => write!(f, "{address}"),
            },
            Peer::Path(path) => write!(f, "{}", path.to_string_lossy().escape_debug()),
            Peer::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Peer::Unnamed => Ok(()),
        }
    }
}

/// An address with its protocol: `tcp://127.0.0.1:7`, `unix:/run/echo.sock`.
#[derive(Clone, Copy, Debug)]
pub struct Url<'a> {
    protocol: Protocol,
    address: &'a Peer,
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.protocol.fmt(f)?;
        f.write_str(if matches!(self.address, Peer::Inet(_)) { "://" } else { ":" })?;
        self.address.fmt(f)
    }
}

/// A client: `tcp://127.0.0.1:7`, or `tcp://203.0.113.7:7 through tcp://127.0.0.1:9` if a PROXY header named it, or
/// `unix: (pid 4711, uid 1000)`.
#[derive(Clone, Debug)]
pub struct ClientName<'a> {
    peer: Url<'a>,
    proxied_source: Option<Peer>,
    process: Option<PeerProcess>,
}

impl ClientName<'_> {
    /// The same, with the process of a unix client.
    pub fn of(self, process: Option<PeerProcess>) -> Self {
        ClientName { process, ..self }
    }
}

impl fmt::Display for ClientName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxied_source {
            Some(proxied_source) => write!(f, "{} through {}", proxied_source.url(Protocol::Tcp), self.peer)?,
            None => self.peer.fmt(f)?,
        }
        self.process.map_or(Ok(()), |process| write!(f, " ({process})"))
    }
}
