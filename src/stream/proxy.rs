//! The header of the PROXY protocol, versions 1 and 2: in front of its payload a connection that comes through a proxy says
//! who is at the other side of it (HAProxy, doc/proxy-protocol.txt).
//!
//! A pure function over the bytes that have arrived so far. Whoever keeps them needs room for [`LONGEST`]: by then the
//! header is whole or broken.

use std::net::SocketAddr;

mod crc32c;
mod v1;
mod v2;

/// No header is longer.
pub const LONGEST: usize = v2::LONGEST;

/// What the bytes that begin a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The beginning of a header: more is needed.
    Part,
    /// A header.
    Whole {
        /// How many of the bytes it is; the rest is payload.
        length: usize,
        /// Who is at the other side of the proxy; `None` if it speaks for itself, or does not know.
        source: Option<SocketAddr>,
    },
    /// The beginning of something else.
    Absent,
    /// They begin as a header does, and are none.
    Broken,
}

/// Reads the `bytes` that begin a connection.
pub fn read(bytes: &[u8]) -> Reading {
    match (begins(bytes, v1::SIGNATURE), begins(bytes, v2::SIGNATURE)) {
        (Some(true), _) => v1::read(bytes),
        (_, Some(true)) => v2::read(bytes),
        (None, None) => Reading::Absent,
        _ => Reading::Part,
    }
}

/// Whether `bytes` begin with `signature`: `None` if not, false if they are only a part of it.
fn begins(bytes: &[u8], signature: &[u8]) -> Option<bool> {
    let length = bytes.len().min(signature.len());
    (bytes[..length] == signature[..length]).then_some(length == signature.len())
}

#[cfg(test)]
mod tests;
