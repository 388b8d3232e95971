//! Version 2, binary: a signature, four bytes with command, family and length, addresses, and optional fields (TLVs).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Reading, crc32c};

/// The first bytes of every header of this version.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, command, family and length, in bytes.
const FIXED: usize = 16;
/// Two paths of a unix socket: the longest addresses, in bytes.
const UNIX: usize = 216;
/// Optional fields are skipped, but no more bytes of them than this.
const MOST_FIELDS: usize = 4096;

/// The longest header, in bytes. A LOCAL header is skipped whatever its length; every other header that we accept is
/// shorter.
pub(super) const LONGEST: usize = FIXED + u16::MAX as usize;

/// LOCAL: the proxy speaks for itself. The family and all that follows is to be ignored (section 2.2).
const LOCAL: u8 = 0x20;
/// PROXY: the connection is relayed for a client.
const PROXY: u8 = 0x21;

/// The optional field with a checksum of the whole header.
const CHECKSUM: u8 = 3;

/// Parses bytes that begin with [`SIGNATURE`].
pub(super) fn read(bytes: &[u8]) -> Reading {
    let Some(&[command, group, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else { return Reading::Part };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    match command {
        LOCAL if bytes.len() < length => Reading::Part,
        LOCAL => Reading::Whole { length, source: None },
        PROXY => read_proxied(bytes, group, length),
        _ => Reading::Broken,
    }
}

fn read_proxied(bytes: &[u8], group: u8, length: usize) -> Reading {
    let Some(addresses) = addresses(group) else { return Reading::Broken };
    let fields = FIXED + addresses;
    if length < fields || length > fields + MOST_FIELDS {
        return Reading::Broken;
    }
    match bytes.get(..length) {
        None => Reading::Part,
        Some(header) if are_sound(header, fields) => {
            Reading::Whole { length, source: source(group, &header[FIXED..]) }
        }
        Some(_) => Reading::Broken,
    }
}

/// The family of a header that was read, its addresses and its optional fields; `None` if the proxy speaks for itself.
pub(super) fn parts(header: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&command, &group) = (header.get(SIGNATURE.len())?, header.get(SIGNATURE.len() + 1)?);
    let (addresses, fields) = header.get(FIXED..)?.split_at_checked(addresses(group)?)?;
    (command == PROXY).then_some((group, addresses, fields))
}

/// Length of the addresses of a family, in bytes.
fn addresses(group: u8) -> Option<usize> {
    if group & 0x0f > 2 {
        return None;
    }
    match group >> 4 {
        0 => Some(0),
        1 => Some(12),
        2 => Some(36),
        3 => Some(UNIX),
        _ => None,
    }
}

/// The client's address, if it is that of a stream over IPv4 or IPv6: rules and limits know no others.
fn source(group: u8, bytes: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    match group {
        0x11 => {
            let ip: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8)?))
        }
        0x21 => {
            let ip: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32)?))
        }
        _ => None,
    }
}

/// Whether the optional fields, from `at` on, fill the header exactly, and the checksum, if there is one, is right.
fn are_sound(header: &[u8], mut at: usize) -> bool {
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return false };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let Some(bytes) = header.get(value.clone()) else { return false };
        if kind == CHECKSUM {
            let Ok(expected) = <[u8; 4]>::try_from(bytes) else { return false };
            // The checksum was computed with zeros in its own field.
            let parts = [&header[..value.start], &[0; 4], &header[value.end..]];
            if crc32c::checksum(&parts) != u32::from_be_bytes(expected) {
                return false;
            }
        }
        at = value.end;
    }
    true
}
