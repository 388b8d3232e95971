//! Version 1, a line of text: `PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r\n`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::Reading;

/// The first bytes of every header of this version.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line in bytes, CR and LF included.
const LONGEST: usize = 107;

/// Parses bytes that begin with [`SIGNATURE`].
pub(super) fn read(bytes: &[u8]) -> Reading {
    let line = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = line.iter().position(|byte| *byte == b'\r') else {
        return if line.len() < LONGEST { Reading::Part } else { Reading::Broken };
    };
    match line.get(end + 1) {
        None if line.len() < LONGEST => Reading::Part,
        Some(b'\n') => match source(&line[SIGNATURE.len()..end]) {
            Some(source) => Reading::Whole { length: end + 2, source },
            None => Reading::Broken,
        },
        _ => Reading::Broken,
    }
}

/// Parses what stands between the signature and the end of the line; `None` if it is invalid.
fn source(text: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(text).ok()?;
    let (group, rest) = text.split_once(' ').unwrap_or((text, ""));
    match group {
        "TCP4" => addresses::<Ipv4Addr>(rest).map(Some),
        "TCP6" => addresses::<Ipv6Addr>(rest).map(Some),
        // The protocol says to ignore what follows.
        "UNKNOWN" => Some(None),
        _ => None,
    }
}

/// Four fields separated by single spaces: source and destination address, source and destination port. All must be
/// valid.
fn addresses<A: FromStr + Into<IpAddr>>(text: &str) -> Option<SocketAddr> {
    let mut words = text.split(' ');
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let port = port(words.next()?)?;
    self::port(words.next()?)?;
    words.next().is_none().then(|| SocketAddr::new(source.into(), port))
}

/// A decimal number without sign and without leading zeros.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}
