//! What each listener knows of one client at the moment: the question and the answer of `/explain`.

use std::{
    fmt::{self, Display, Write},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::access::{sources::SourceKey, state::AccessState};

/// How a request looks.
const USAGE: &str = "write for example /explain?source=192.0.2.7, with a port /explain?source=[2001:db8::1]:4711, for a user \
                     of a unix socket /explain?source=user:1000; &listener=NAME asks one listener";

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientQuery {
    /// The client.
    pub source: SourceKey,
    /// Its port, if that is known: datagrams are remembered by port.
    pub port: Option<u16>,
    /// The only listener that is asked, if there is one.
    pub listener: Option<String>,
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ClientAnswer {
    /// The client.
    pub source: String,
    /// The listeners that may have such a client.
    pub listeners: Vec<ClientView>,
}

/// What one listener knows of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ClientView {
    /// The name of the listener.
    pub listener: String,
    /// Its protocol.
    pub protocol: String,
    /// The state of its limits and its guard.
    #[serde(flatten)]
    pub state: AccessState,
}

impl ClientQuery {
    /// Reads what follows the `?`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(query: &str) -> Result<ClientQuery, String> {
        let (mut source, mut listener) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |what: &str| format!("`{}` {what}; {USAGE}", pair.escape_debug());
            let value = decode(value).ok_or_else(|| wrong("is not percent-encoded UTF-8"))?;
            let is_second = match key {
                "source" => {
                    let read =
                        read_source(&value).ok_or_else(|| wrong("is neither an address nor a user"))?;
                    source.replace(read).is_some()
                }
                "listener" => listener.replace(value).is_some(),
                _ => return Err(wrong("is unknown here")),
            };
            if is_second {
                return Err(wrong("is there a second time"));
            }
        }
        let (source, port) = source.ok_or_else(|| format!("the source is missing; {USAGE}"))?;
        Ok(ClientQuery { source, port, listener })
    }

    /// Where this is asked.
    pub fn target(&self) -> String {
        let mut target = format!("/explain?source={self}");
        if let Some(listener) = &self.listener {
            target += "&listener=";
            for byte in listener.bytes() {
                // A String takes whatever is written.
                let _ = match byte.is_ascii_alphanumeric() {
                    true => write!(target, "{}", char::from(byte)),
                    false => write!(target, "%{byte:02X}"),
                };
            }
        }
        target
    }
}

/// The client, as `source` has it.
impl Display for ClientQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, self.port) {
            (SourceKey::Ip(ip), None) => write!(f, "{ip}"),
            (SourceKey::Ip(ip), Some(port)) => write!(f, "{}", SocketAddr::new(ip, port)),
            (SourceKey::User(user), _) => write!(f, "user:{user}"),
        }
    }
}

fn read_source(text: &str) -> Option<(SourceKey, Option<u16>)> {
    if let Some(user) = text.strip_prefix("user:") {
        return Some((SourceKey::User(user.parse().ok()?), None));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some((SourceKey::Ip(ip), None));
    }
    let address: SocketAddr = text.parse().ok()?;
    Some((SourceKey::Ip(address.ip()), Some(address.port())))
}

/// Replaces each `%` with two digits by its byte (RFC 3986, section 2.1).
fn decode(text: &str) -> Option<String> {
    let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let digit = |index: usize| char::from(*rest.get(index)?).to_digit(16);
        decoded.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &rest[2..];
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(source: SourceKey, port: Option<u16>, listener: Option<&str>) -> ClientQuery {
        ClientQuery { source, port, listener: listener.map(str::to_owned) }
    }

    #[test]
    fn a_query_names_a_client_and_perhaps_a_listener() {
        let ip = |text: &str| SourceKey::Ip(text.parse().unwrap());
        for (text, expected) in [
            ("source=192.0.2.7", query(ip("192.0.2.7"), None, None)),
            ("source=192.0.2.7:4711&", query(ip("192.0.2.7"), Some(4711), None)),
            ("source=2001:db8::1", query(ip("2001:db8::1"), None, None)),
            ("source=%5B2001:db8::1%5D%3a53", query(ip("2001:db8::1"), Some(53), None)),
            ("source=[::1]", query(ip("::1"), None, None)),
            ("listener=a%20b%25&source=user:0", query(SourceKey::User(0), None, Some("a b%"))),
        ] {
            let read = ClientQuery::parse(text);
            assert_eq!(read.as_ref(), Ok(&expected), "{text}");
            let target = read.unwrap().target();
            assert_eq!(
                ClientQuery::parse(target.strip_prefix("/explain?").unwrap()),
                Ok(expected),
                "{target}"
            );
        }
    }

    #[test]
    fn a_malformed_query_is_told_what_to_write() {
        for (text, told) in [
            ("", "the source is missing"),
            ("listener=x", "the source is missing"),
            ("source=", "`source=` is neither an address nor a user"),
            ("source=192.0.2", "is neither"),
            ("source=user:root", "is neither"),
            ("source=1.2.3.4&from=x", "`from=x` is unknown"),
            ("source=::1&source=::1", "a second time"),
            ("source=%f", "percent-encoded"),
            ("source=%zz", "percent-encoded"),
            ("listener=%ff&source=::1", "percent-encoded"),
        ] {
            let error = ClientQuery::parse(text).unwrap_err();
            assert!(error.contains(told) && error.ends_with(USAGE), "{text}: {error}");
        }
    }
}
