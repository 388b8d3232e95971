//! The header of the PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): a proxy sends it in front of
//! the payload to name its client.
//!
//! A pure function over the bytes that have arrived so far. The caller needs room for [`LONGEST`] bytes: by then the
//! header is complete or broken.

use std::net::SocketAddr;

mod crc32c;
mod told;
mod v1;
mod v2;

pub use told::told;

/// The longest header, in bytes.
pub const LONGEST: usize = v2::LONGEST;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The start of a header; more bytes are needed.
    Part,
    /// A complete header.
    Whole {
        /// Length in bytes; the rest is payload.
        length: usize,
        /// The proxy's client; `None` if the proxy speaks for itself, or does not know its client.
        source: Option<SocketAddr>,
    },
    /// No header.
    Absent,
    /// The start of a header that is invalid.
    Broken,
}

/// Parses the first `bytes` of a connection.
pub fn read(bytes: &[u8]) -> Reading {
    match (begins(bytes, v1::SIGNATURE), begins(bytes, v2::SIGNATURE)) {
        (Some(true), _) => v1::read(bytes),
        (_, Some(true)) => v2::read(bytes),
        (None, None) => Reading::Absent,
        _ => Reading::Part,
    }
}

/// Whether `bytes` begin with `signature`: `None` if not, `Some(false)` if they are only a prefix of it.
fn begins(bytes: &[u8], signature: &[u8]) -> Option<bool> {
    let length = bytes.len().min(signature.len());
    (bytes[..length] == signature[..length]).then_some(length == signature.len())
}

#[cfg(test)]
mod tests;
