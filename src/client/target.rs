//! What a URL stands for: one socket of a server.

use std::{fmt, net::ToSocketAddrs};

use crate::{
    config::{self, Address, Environment, Host, Protocol},
    report::error::{Exit, Failure},
    socket::{address::Peer, resolve::error_text},
    stream::connection::LONGEST_RECORD,
};

/// The longest datagram over IPv4: 65,535 bytes without the headers of IP and UDP.
const LONGEST_V4: usize = 65_507;

/// That over IPv6, which does not count its own header.
const LONGEST_V6: usize = 65_527;

/// The longest message of a stream: one must be compared while others wait.
const LONGEST_MESSAGE: usize = 16 << 20;

/// A server to measure.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the user wrote it.
    pub url: String,
    /// How to speak to it.
    pub protocol: Protocol,
    /// Where it is: the first address of its name. Looked up once, so that all probes go the same way.
    pub peer: Peer,
}

/// The families that the user allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Both; the order is that of the resolver (RFC 6724).
    Any,
    /// `-4`.
    V4,
    /// `-6`.
    V6,
}

impl Target {
    /// Reads a URL of `echod COMMAND`, and looks up its host.
    ///
    /// # Errors
    /// 64 if the URL is wrong, 68 if the name is unknown or has no address of the family.
    pub fn read(command: &str, url: &str, families: Families) -> Result<Target, Failure> {
        let usage =
            |what| Failure::new(Exit::Usage, format!("cannot {command} {}: {what}", url.escape_debug()));
        if url.contains('?') {
            return Err(usage("what is behind the `?` is the server's to say; take it out"));
        }
        let mut loaded = config::load_url(command, url, &Environment::from_process())?;
        let listener = loaded.config.listeners.remove(0);
        let peer = match &listener.address[0] {
            Address::Path(path) => Peer::Path(path.as_path().into()),
            Address::Abstract(name) => Peer::Abstract(name.as_bytes().into()),
            Address::Inet { ports, .. } if *ports.start() == 0 || ports.start() != ports.end() => {
                return Err(usage("a probe goes to one port; write its number"));
            }
            Address::Inet { host, ports } => Peer::Inet(look_up(command, host, *ports.start(), families)?),
        };
        Ok(Target { url: url.to_owned(), protocol: listener.protocol, peer })
    }

    /// The longest message that it can be sent; what buffers of a unix socket hold is for the kernel to say.
    pub fn longest(&self) -> usize {
        match &self.peer {
            _ if self.protocol == Protocol::UnixSeqpacket => LONGEST_RECORD,
            _ if self.protocol.is_stream() => LONGEST_MESSAGE,
            Peer::Inet(address) if address.ip().to_canonical().is_ipv4() => LONGEST_V4,
            Peer::Inet(_) => LONGEST_V6,
            _ => usize::MAX >> 1,
        }
    }

    /// Whether it is a socket of this machine, by its address.
    pub fn is_local(&self) -> bool {
        match &self.peer {
            Peer::Inet(address) => address.ip().to_canonical().is_loopback(),
            _ => true,
        }
    }
}

/// The address that is measured, without the port and the protocol: `192.0.2.7`, `/run/echod.sock`, `@name`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Peer::Inet(address) => write!(f, "{}", address.ip()),
            Peer::Path(path) => write!(f, "{}", path.display()),
            Peer::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Peer::Unnamed => f.write_str("-"),
        }
    }
}

fn look_up(
    command: &str,
    host: &Host,
    port: u16,
    families: Families,
) -> Result<std::net::SocketAddr, Failure> {
    let name = match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Scoped(ip, zone) => format!("{ip}%{zone}"),
        Host::Name(name) => name.clone(),
    };
    let unknown = |what: &str| {
        Failure::new(
            Exit::NoHost,
            format!("cannot {command} host `{name}`: {what}; check the name, or write its address"),
        )
    };
    let found = (name.as_str(), port).to_socket_addrs().map_err(|error| unknown(&error_text(&error)))?;
    let mut of_family = found.filter(|address| match families {
        Families::Any => true,
        Families::V4 => address.is_ipv4(),
        Families::V6 => address.is_ipv6(),
    });
    of_family.next().ok_or_else(|| unknown("it has no address of that family"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_socket() {
        let read = |url: &str| Target::read("ping", url, Families::Any);
        let target = read("udp://127.0.0.1:7").unwrap();
        assert_eq!((target.protocol, target.to_string().as_str()), (Protocol::Udp, "127.0.0.1"));
        assert!(target.is_local() && read("unix:@x").unwrap().is_local());
        assert!(!read("tcp://192.0.2.7:7").unwrap().is_local());
        for url in ["tcp://127.0.0.1:0", "tcp://127.0.0.1:7-9", "tcp://127.0.0.1:7?mode=epoll"] {
            assert_eq!(read(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
        assert_eq!(read("udp://127.0.0.1:7").unwrap().longest(), 65_507);
        assert_eq!(read("udp://[::ffff:127.0.0.1]:7").unwrap().longest(), 65_507);
        assert_eq!(read("udp://[::1]:7").unwrap().longest(), 65_527);
        let six = Target::read("ping", "tcp://127.0.0.1:7", Families::V6).unwrap_err();
        assert_eq!(six.exit, Exit::NoHost);
    }
}
