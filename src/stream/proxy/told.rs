//! What a header tells beside the client's address: the destination, and the optional fields (TLVs) of version 2. Only whoami asks.
//!
//! The header was read before and is complete. The content of its fields was not looked at: a field that does not have the form that
//! the protocol gives it is left out, and hurts no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::service::request::{FieldBytes, ProxyCommand, ProxyFields, ProxyInfo, ProxyTls, RequestAddress};

use super::{v1, v2};

/// What the complete `header` tells.
pub fn told(header: &[u8]) -> ProxyInfo<'_> {
    if header.starts_with(v1::SIGNATURE) { told_by_v1(header) } else { told_by_v2(header) }
}

fn told_by_v1(header: &[u8]) -> ProxyInfo<'_> {
    let mut info = ProxyInfo { version: 1, ..ProxyInfo::default() };
    let Ok(text) = std::str::from_utf8(header) else { return info };
    let mut words = text.trim_ascii_end().split(' ').skip(1);
    let is_known = matches!(words.next(), Some("TCP4" | "TCP6"));
    let mut ip = || words.next()?.parse::<IpAddr>().ok();
    if let (true, Some(source), Some(destination)) = (is_known, ip(), ip()) {
        let mut port = || words.next()?.parse::<u16>().ok();
        if let (Some(from), Some(to)) = (port(), port()) {
            info.command = ProxyCommand::Proxy;
            info.source = RequestAddress::Inet((source, from).into());
            info.destination = RequestAddress::Inet((destination, to).into());
        }
    }
    info
}

fn told_by_v2(header: &[u8]) -> ProxyInfo<'_> {
    let info = ProxyInfo { version: 2, command: ProxyCommand::Local, ..ProxyInfo::default() };
    let Some((group, addresses, fields)) = v2::parts(header) else { return info };
    let (source, destination) = match group >> 4 {
        1 => inet(addresses, |ip: [u8; 4]| Ipv4Addr::from(ip).into()),
        2 => inet(addresses, |ip: [u8; 16]| Ipv6Addr::from(ip).into()),
        3 => {
            let (source, destination) = addresses.split_at(addresses.len() / 2);
            (RequestAddress::of_sun_path(source), RequestAddress::of_sun_path(destination))
        }
        _ => Default::default(),
    };
    ProxyInfo { command: ProxyCommand::Proxy, source, destination, fields: known(fields), ..info }
}

/// Both addresses, then both ports.
fn inet<'a, const N: usize>(
    bytes: &[u8],
    ip: fn([u8; N]) -> IpAddr,
) -> (RequestAddress<'a>, RequestAddress<'a>) {
    let end = |number: usize| {
        let address = bytes.get(number * N..)?.first_chunk::<N>()?;
        let port = bytes.get(2 * N + 2 * number..)?.first_chunk::<2>()?;
        Some(RequestAddress::Inet(SocketAddr::new(ip(*address), u16::from_be_bytes(*port))))
    };
    (end(0).unwrap_or_default(), end(1).unwrap_or_default())
}

/// The fields that whoami tells. Where one comes twice, the first counts.
fn known(bytes: &[u8]) -> ProxyFields<'_> {
    let mut fields = ProxyFields::default();
    for (kind, value) in tlvs(bytes) {
        let text = || Some(FieldBytes(value));
        match (kind, value) {
            (0x01, _) => fields.alpn = fields.alpn.or_else(text),
            (0x02, _) => fields.authority = fields.authority.or_else(text),
            (0x05, _) => fields.unique_id = fields.unique_id.or_else(text),
            (0x20, [client, a, b, c, d, inner @ ..]) if fields.ssl.is_none() => {
                fields.ssl = Some(tls(*client, [*a, *b, *c, *d], inner));
            }
            (0x30, _) => fields.netns = fields.netns.or_else(text),
            // AWS and Azure each have a kind of their own, with a kind of their own inside.
            (0xea, [0x01, id @ ..]) => fields.aws_vpce_id = fields.aws_vpce_id.or(Some(FieldBytes(id))),
            (0xee, [0x01, a, b, c, d]) => {
                fields.azure_link_id = fields.azure_link_id.or(Some(u32::from_le_bytes([*a, *b, *c, *d])));
            }
            _ => {}
        }
    }
    fields
}

/// `client` is a set of flags; `verify` is 0 if the certificate was verified, and in some proxies also if there was none.
fn tls(client: u8, verify: [u8; 4], inner: &[u8]) -> ProxyTls<'_> {
    const TLS: u8 = 1;
    const CERTIFICATE: u8 = 2 | 4;
    let certificate = client & CERTIFICATE != 0;
    let mut tls = ProxyTls {
        tls: client & TLS != 0,
        certificate,
        verified: certificate && verify == [0; 4],
        ..ProxyTls::default()
    };
    for (kind, value) in tlvs(inner) {
        let field = match kind {
            0x21 => &mut tls.version,
            0x22 => &mut tls.cn,
            0x23 => &mut tls.cipher,
            0x24 => &mut tls.sig_alg,
            0x25 => &mut tls.key_alg,
            _ => continue,
        };
        field.get_or_insert(FieldBytes(value));
    }
    tls
}

/// Kind and value of each field, up to one that is longer than what is left.
fn tlvs(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        bytes = rest;
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests;
