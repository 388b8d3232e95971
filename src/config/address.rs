//! Where a listener binds, as written in the file: parsed, but not yet looked up.

use std::{fmt, net::IpAddr, ops::RangeInclusive, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Protocol, diagnostic::Diagnostic, quoted};

pub(super) mod inet;

/// One place to bind. [`fmt::Display`] writes it as the file does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// `127.0.0.1:7`, `[::1]:7`, `[fe80::1%eth0]:7`, `localhost:0`, `127.0.0.1:7000-7009`.
    Inet {
        /// The part before the port.
        host: Host,
        /// One port, or a range with a socket for each.
        ports: RangeInclusive<u16>,
    },
    /// A socket file, an absolute or relative path; `%t` is already expanded.
    Path(PathBuf),
    /// A name in the abstract namespace, without its leading `@`.
    Abstract(String),
}

/// The host part of an internet address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A link-local IPv6 address with its zone: an interface name or number.
    Scoped(std::net::Ipv6Addr, String),
    /// A name, looked up when the listener is bound.
    Name(String),
}

impl Address {
    /// Reads an address of `protocol`.
    pub(super) fn parse(text: &str, protocol: Protocol) -> Result<Self, Diagnostic> {
        match protocol {
            Protocol::Tcp | Protocol::Udp => inet::read(text),
            Protocol::Unix | Protocol::UnixSeqpacket | Protocol::UnixDatagram => local(text),
        }
    }

    /// Whether it is a host name, which may stand for several addresses.
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Inet { host: Host::Name(_), .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { host, ports } if ports.start() == ports.end() => {
                write!(f, "{host}:{}", ports.start())
            }
            Self::Inet { host, ports } => write!(f, "{host}:{}-{}", ports.start(), ports.end()),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Scoped(address, zone) => write!(f, "[{address}%{zone}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `sun_path` has room for so many bytes beside the zero that ends a path or starts an abstract name, unix(7).
const LONGEST_UNIX: usize = 107;

fn local(text: &str) -> Result<Address, Diagnostic> {
    let diagnostic = |what: &str, help: &str| Err(Diagnostic::new(format!("{} {what}", quoted(text)), help));
    if text.chars().any(char::is_control) {
        return diagnostic("has a control character", "write a path, or `@` and a name");
    }
    let name = text.strip_prefix('@');
    if name.unwrap_or(text).len() > LONGEST_UNIX {
        let help = format!("use at most {LONGEST_UNIX} bytes, the kernel takes no more");
        return diagnostic(&format!("is too long, {} bytes", name.unwrap_or(text).len()), &help);
    }
    match name {
        Some("") => diagnostic("is an empty abstract name", "write a name after the `@`"),
        Some(name) => Ok(Address::Abstract(name.to_owned())),
        None if text.is_empty() => diagnostic("is no path", "write a path, or `@` and a name"),
        None if ["unix:", "unix-seqpacket:", "unix-datagram:", "file:"]
            .iter()
            .any(|start| text.starts_with(start)) =>
        {
            let path = text.split_once(':').map_or("", |(_, path)| path.trim_start_matches("//"));
            diagnostic("begins with a protocol", &format!("write the path alone, `{path}`"))
        }
        None if text.starts_with("~/") || text.starts_with('$') => diagnostic(
            "is no path: nothing is put in the place of `~` or `$`",
            "write the whole path, or `%t/` for the runtime directory",
        ),
        None if text.ends_with('/') => diagnostic("is a directory", "add a file name"),
        None if inet::read(text).is_ok() => {
            let help = format!("use protocol `tcp` or `udp`, or write `./{text}` for a file of that name");
            diagnostic("is a host and a port, not the path of a unix socket", &help)
        }
        None => Ok(Address::Path(PathBuf::from(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for text in [
            "127.0.0.1:7",
            "[::1]:7",
            "[::]:0",
            "[fe80::1%eth0]:7",
            "[fe80::1%2]:7",
            "localhost:0",
            "127.0.0.1:7000-7009",
            "my-host.example:65535",
        ] {
            let address = Address::parse(text, Protocol::Tcp).unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in
            ["/run/echod.sock", "echo.sock", "dir/a:7", "./a:7", "@name", "@a/b", "a:x", "[x]", "./@x"]
        {
            let address = Address::parse(text, Protocol::Unix).unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let read = |text| Address::parse(text, Protocol::Udp).unwrap();
        let inet = |host, ports| Address::Inet { host, ports };
        assert_eq!(read("127.0.0.1:7-7"), inet(Host::Ip([127, 0, 0, 1].into()), 7..=7));
        assert_eq!(read("[::1]:7-9"), inet(Host::Ip(std::net::Ipv6Addr::LOCALHOST.into()), 7..=9));
        let link_local = "fe80::1".parse().unwrap();
        assert_eq!(read("[fe80::1%eth0]:7"), inet(Host::Scoped(link_local, "eth0".into()), 7..=7));
        assert_eq!(read("a.example:1"), inet(Host::Name("a.example".into()), 1..=1));
    }

    #[test]
    fn bad_addresses_say_why() {
        for (text, part) in [
            ("127.0.0.1", "has no port"),
            ("127.0.0.1:", "has no port"),
            ("[::1]", "has no port"),
            ("::1", "without brackets"),
            ("::1:7", "without brackets"),
            ("localhost:echo", "is no port"),
            ("localhost:65536", "is no port"),
            ("localhost:+7", "is no port"),
            ("127.0.0.1:-1", "`-1` is no port"),
            ("localhost:7-", "`7-` is no port"),
            ("localhost:9-7", "is a reversed port range"),
            ("localhost:0-7", "is a range with port 0"),
            ("localhost:7-0", "is a range with port 0"),
            (":7", "no host"),
            ("*:7", "no host"),
            ("300.1.1.1:7", "is not an IPv4 address"),
            ("[127.0.0.1]:7", "is not an IPv6 address"),
            ("[::1%lo]:7", "is not link-local"),
            ("[fe80::1%]:7", "is not a zone"),
            ("a b:7", "is not a host name"),
            ("/run/x", "is the address of a unix socket"),
            ("@x", "is the address of a unix socket"),
        ] {
            let diagnostic = Address::parse(text, Protocol::Tcp).unwrap_err();
            assert!(diagnostic.title.contains(part), "{text}: {diagnostic}");
        }
        for (text, part) in [
            ("", "is no path"),
            ("@", "empty abstract name"),
            ("127.0.0.1:7", "is a host and a port"),
            ("localhost:7", "is a host and a port"),
            ("/run/", "is a directory"),
            ("a\u{1b}[m", "control character"),
            (&"x".repeat(108), "is too long, 108 bytes"),
            (&format!("@{}", "x".repeat(108)), "is too long, 108 bytes"),
        ] {
            let diagnostic = Address::parse(text, Protocol::Unix).unwrap_err();
            assert!(diagnostic.title.contains(part), "{text}: {diagnostic}");
        }
        assert!(Address::parse(&"x".repeat(107), Protocol::Unix).is_ok());
        assert!(Address::parse(&format!("@{}", "x".repeat(107)), Protocol::UnixDatagram).is_ok());
    }
}
