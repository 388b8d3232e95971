//! What is known of a request beside its bytes, in the form in which whoami tells it. The callers of services fill it in.
//!
//! Everything that a peer or a proxy chose (socket names, fields of a PROXY header) is bytes here, and becomes a string of JSON only
//! where it is UTF-8. Everything else is `{"hex": "00ff"}`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt,
    str,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use socket2::SockAddr;

use crate::sys::{credentials::Credentials, request_notes::RequestNotes};

/// What is known of a request: a connection that was opened, or a datagram.
#[derive(Default)]
pub struct RequestInfo<'a> {
    /// The other end of the socket: the client, or the proxy in front of it.
    pub peer: RequestAddress<'a>,
    /// The address that was asked.
    pub local: RequestAddress<'a>,
    /// What a proxy told of its client.
    pub proxy: Option<ProxyInfo<'a>>,
    /// The process at the other end of a unix socket.
    pub process: Option<Credentials>,
    /// What the kernel noted.
    pub notes: RequestNotes,
}

/// One end of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestAddress<'a> {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// The file of a unix socket.
    Path(&'a [u8]),
    /// A unix socket in the abstract namespace.
    Abstract(&'a [u8]),
    /// A unix socket without a name, or an address that is not known.
    #[default]
    Unnamed,
}

impl<'a> RequestAddress<'a> {
    /// A unix socket with this `sun_path`, which is as long as its room.
    pub fn of_sun_path(name: &'a [u8]) -> RequestAddress<'a> {
        let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        match &name[..end] {
            [] => RequestAddress::Unnamed,
            [0, name @ ..] => RequestAddress::Abstract(name),
            path => RequestAddress::Path(path.split(|byte| *byte == 0).next().unwrap_or_default()),
        }
    }
}

impl<'a> From<&'a SockAddr> for RequestAddress<'a> {
    fn from(address: &'a SockAddr) -> RequestAddress<'a> {
        if let Some(inet) = address.as_socket() {
            return RequestAddress::Inet(inet);
        }
        match (address.as_pathname(), address.as_abstract_namespace()) {
            (Some(path), _) => RequestAddress::Path(path.as_os_str().as_bytes()),
            (None, Some(name)) => RequestAddress::Abstract(name),
            (None, None) => RequestAddress::Unnamed,
        }
    }
}

/// As `{"address": "192.0.2.1", "port": 7}`; a unix socket has no port, and a name in the abstract namespace begins with `@`, or in
/// hexadecimal with `00`.
impl Serialize for RequestAddress<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("RequestAddress", 2)?;
        match *self {
            RequestAddress::Inet(address) => {
                // An IPv4 client of a dual-stack socket is written as IPv4.
                let ip = address.ip().to_canonical();
                object.serialize_field("address", &ip)?;
                object.serialize_field("port", &address.port())?;
                if let (SocketAddr::V6(v6), IpAddr::V6(_)) = (address, ip)
                    && v6.scope_id() != 0
                {
                    object.serialize_field("scope_id", &v6.scope_id())?;
                }
            }
            RequestAddress::Path(path) => {
                object.serialize_field("address", &SocketName { in_text: "", in_hex: &[], name: path })?;
            }
            RequestAddress::Abstract(name) => {
                object.serialize_field("address", &SocketName { in_text: "@", in_hex: &[0], name })?;
            }
            RequestAddress::Unnamed => {}
        }
        object.end()
    }
}

impl RequestAddress<'_> {
    /// Whether there is nothing to tell.
    pub(super) fn is_unnamed(&self) -> bool {
        *self == RequestAddress::Unnamed
    }
}

/// What a PROXY header told.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyInfo<'a> {
    /// The version of the protocol: 1 or 2.
    pub version: u8,
    /// For whom the proxy spoke.
    pub command: ProxyCommand,
    /// The client.
    #[serde(skip_serializing_if = "RequestAddress::is_unnamed")]
    pub source: RequestAddress<'a>,
    /// What the client asked.
    #[serde(skip_serializing_if = "RequestAddress::is_unnamed")]
    pub destination: RequestAddress<'a>,
    /// The optional fields of version 2.
    #[serde(flatten)]
    pub fields: ProxyFields<'a>,
}

/// For whom a proxy spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyCommand {
    /// For a client.
    Proxy,
    /// For itself (version 2).
    Local,
    /// It did not know the client (version 1).
    #[default]
    Unknown,
}

/// The optional fields (TLVs) of a PROXY header.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyFields<'a> {
    /// The protocol that client and proxy have agreed upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<FieldBytes<'a>>,
    /// The host that the client named (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<FieldBytes<'a>>,
    /// The proxy's name for the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<FieldBytes<'a>>,
    /// The proxy's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<FieldBytes<'a>>,
    /// The VPC endpoint of AWS that the client came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_vpce_id: Option<FieldBytes<'a>>,
    /// The link of the private endpoint of Azure that the client came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_link_id: Option<u32>,
    /// The TLS connection between client and proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl: Option<ProxyTls<'a>>,
}

/// The TLS connection between client and proxy.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProxyTls<'a> {
    /// Whether the client came over TLS.
    pub tls: bool,
    /// Whether it has presented a certificate, on this connection or in its session.
    pub certificate: bool,
    /// Whether that certificate was verified.
    pub verified: bool,
    /// The version of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<FieldBytes<'a>>,
    /// The common name of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cn: Option<FieldBytes<'a>>,
    /// The cipher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<FieldBytes<'a>>,
    /// The algorithm that signed the proxy's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_alg: Option<FieldBytes<'a>>,
    /// The algorithm of the key in the proxy's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alg: Option<FieldBytes<'a>>,
}

/// The value of an optional field: a string, or where it is not UTF-8 `{"hex": "00ff"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldBytes<'a>(pub &'a [u8]);

impl Serialize for FieldBytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => hexadecimal(&[], self.0, to),
        }
    }
}

/// Written as a string, without a copy of it.
pub(super) struct Shown<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// The name of a unix socket behind what is before it: a string where it is UTF-8 and not longer so than in hexadecimal, as a name
/// of control characters would be, six letters each. So an answer that has to fit a datagram has room for any name.
struct SocketName<'a> {
    in_text: &'static str,
    in_hex: &'static [u8],
    name: &'a [u8],
}

impl Serialize for SocketName<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let most = 2 * (self.in_hex.len() + self.name.len());
        match str::from_utf8(self.name).ok().filter(|text| text.chars().map(width).sum::<usize>() <= most) {
            Some(text) => to.collect_str(&format_args!("{}{text}", self.in_text)),
            None => hexadecimal(self.in_hex, self.name, to),
        }
    }
}

/// How many bytes a character has in a string of JSON.
pub(super) fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..' ' => 6,
        c => c.len_utf8(),
    }
}

fn hexadecimal<S: Serializer>(first: &[u8], rest: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let mut object = to.serialize_struct("Hexadecimal", 1)?;
    object.serialize_field("hex", &Shown(Hex(first, rest)))?;
    object.end()
}

struct Hex<'a>(&'a [u8], &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().chain(self.1).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(address: RequestAddress<'_>) -> String {
        serde_json::to_string(&address).unwrap()
    }

    #[test]
    fn an_address_is_written_as_people_know_it() {
        let inet = |text: &str| RequestAddress::Inet(text.parse().unwrap());
        assert_eq!(json(inet("[::ffff:192.0.2.1]:7")), r#"{"address":"192.0.2.1","port":7}"#);
        assert_eq!(json(inet("[2001:db8::1]:7")), r#"{"address":"2001:db8::1","port":7}"#);
        assert_eq!(json(inet("[fe80::1%3]:7")), r#"{"address":"fe80::1","port":7,"scope_id":3}"#);
        assert_eq!(json(RequestAddress::Path(b"/run/\"x")), r#"{"address":"/run/\"x"}"#);
        assert_eq!(json(RequestAddress::Abstract(b"echo\0")), r#"{"address":"@echo\u0000"}"#);
        assert_eq!(json(RequestAddress::Path(b"/\xff\"x")), r#"{"address":{"hex":"2fff2278"}}"#);
        assert_eq!(json(RequestAddress::Path(b"\xff\xfe")), r#"{"address":{"hex":"fffe"}}"#);
        assert_eq!(json(RequestAddress::Abstract(b"\xff@")), r#"{"address":{"hex":"00ff40"}}"#);
    }

    #[test]
    fn no_name_of_a_socket_takes_more_than_two_letters_a_byte() {
        let brackets = r#"{"address":{"hex":""}}"#.len();
        for filler in [&b"\x01"[..], b"\"", b"\xff", "\u{e4}".as_bytes(), b"\x01xx", b"\n", b"x"] {
            let name: Vec<u8> = filler.iter().copied().cycle().take(107).collect();
            let path = json(RequestAddress::Path(&name));
            let in_namespace = json(RequestAddress::Abstract(&name));
            assert!(
                path.len() <= brackets + 214 && in_namespace.len() <= brackets + 216,
                "{path} {in_namespace}"
            );
        }
        assert_eq!(json(RequestAddress::Path(b"\x01\x02a")), r#"{"address":{"hex":"010261"}}"#);
        assert_eq!(json(RequestAddress::Path(b"/run/a\nb")), r#"{"address":"/run/a\nb"}"#);
    }

    #[test]
    fn a_character_is_as_wide_as_it_is_written() {
        for c in (0..0x2100).filter_map(char::from_u32).chain(['\u{10ffff}']) {
            assert_eq!(serde_json::to_string(&c).unwrap().len(), width(c) + 2, "{c:?}");
        }
    }

    #[test]
    fn a_sun_path_ends_where_its_name_does() {
        for (name, address) in [
            (&b"\0\0\0\0"[..], RequestAddress::Unnamed),
            (b"", RequestAddress::Unnamed),
            (b"/run/x\0\0", RequestAddress::Path(b"/run/x")),
            (b"/run/x\0y", RequestAddress::Path(b"/run/x")),
            (b"\0name\0\0", RequestAddress::Abstract(b"name")),
        ] {
            assert_eq!(RequestAddress::of_sun_path(name), address);
        }
    }

    #[test]
    fn a_field_that_is_no_text_is_written_in_hexadecimal() {
        for (bytes, text) in [
            (&b"h2"[..], r#""h2""#),
            (b"\x00\"\n", r#""\u0000\"\n""#),
            (b"", r#""""#),
            (b"\xff\x00", r#"{"hex":"ff00"}"#),
        ] {
            assert_eq!(serde_json::to_string(&FieldBytes(bytes)).unwrap(), text);
        }
    }
}
