//! What the configuration says of the IP header of answers: how far they may go, how routers treat them, and whether routers may
//! fragment them. Accepted connections inherit it from their listening socket.
//!
//! An IPv6 socket has each option twice: its IPv4 clients are served by the options of IPv4.

use std::io;

use rustix::net::sockopt::{
    ip_recvtos, ip_tos, ip_ttl, ipv6_recvtclass, ipv6_tclass, ipv6_unicast_hops, set_ip_recvtos, set_ip_tos,
    set_ip_ttl, set_ipv6_recvtclass, set_ipv6_tclass, set_ipv6_unicast_hops,
};
use socket2::Socket;

use crate::{
    config::{self, DontFragment, Dscp, Protocol},
    sys::{
        path_mtu::{self, Discovery},
        saved_syn::{self, SynTos},
    },
};

/// The fields of the header that a socket sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    ttl: u8,
    tos: u8,
    v6: Option<HeaderV6>,
    discovery: Option<Discovery>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct HeaderV6 {
    hops: u8,
    traffic_class: u8,
}

impl Header {
    /// The present values of `socket`, if it has IP addresses.
    pub(super) fn of(socket: &Socket) -> Option<Header> {
        let v6 = || {
            let (hops, class) = (ipv6_unicast_hops(socket).ok()?, ipv6_tclass(socket).ok()?);
            Some(HeaderV6 { hops, traffic_class: class as u8 })
        };
        Some(Header {
            ttl: ip_ttl(socket).ok()? as u8,
            tos: ip_tos(socket).ok()?,
            v6: v6(),
            discovery: Discovery::of(socket),
        })
    }

    /// Sets what `settings` say. What they leave to the kernel becomes as in `self`.
    pub(super) fn set(self, socket: &Socket, settings: &config::Listener) -> io::Result<()> {
        let mut wanted = self;
        if settings.ttl > 0 {
            wanted.ttl = settings.ttl;
            wanted.v6 = wanted.v6.map(|v6| HeaderV6 { hops: settings.ttl, ..v6 });
        }
        if let Some(Dscp::Value(value)) = settings.dscp {
            wanted.tos = with_dscp(value);
            wanted.v6 = wanted.v6.map(|v6| HeaderV6 { traffic_class: with_dscp(value), ..v6 });
        }
        wanted.apply(socket)?;
        let reflects = settings.dscp == Some(Dscp::Reflect);
        match settings.protocol {
            Protocol::Tcp => saved_syn::save(socket, reflects),
            _ => {
                receive_tos(socket, reflects || settings.service.describes_requests())?;
                self.forbid_fragments(socket, settings.dont_fragment)
            }
        }
    }

    fn apply(self, socket: &Socket) -> io::Result<()> {
        let Some(now) = Header::of(socket) else { return Ok(()) };
        if now.ttl != self.ttl {
            set_ip_ttl(socket, self.ttl.into())?;
        }
        if now.tos != self.tos {
            set_ip_tos(socket, self.tos)?;
        }
        let (Some(now), Some(v6)) = (now.v6, self.v6) else { return Ok(()) };
        if now.hops != v6.hops {
            set_ipv6_unicast_hops(socket, Some(v6.hops))?;
        }
        if now.traffic_class != v6.traffic_class {
            set_ipv6_tclass(socket, v6.traffic_class.into())?;
        }
        Ok(())
    }

    fn forbid_fragments(self, socket: &Socket, dont_fragment: DontFragment) -> io::Result<()> {
        match dont_fragment {
            DontFragment::On => Discovery::NEVER_FRAGMENTED.set(socket),
            DontFragment::Off => Discovery::FRAGMENTED.set(socket),
            DontFragment::Auto => {
                self.discovery.map_or(Ok(()), |usual| usual.set(socket))?;
                // Until an answer exceeds the path MTU.
                path_mtu::forbid_fragments(socket);
                Ok(())
            }
        }
    }
}

/// Lets a connection answer with the DSCP of its client's SYN, as far as the kernel has kept that. The ECN bits belong to the kernel.
pub fn reflect_dscp(socket: &Socket) {
    // Where this fails, the answers carry the usual one.
    let _ = match saved_syn::tos(socket) {
        Some(SynTos::V4(tos)) => set_ip_tos(socket, tos),
        Some(SynTos::V6(traffic_class)) => set_ipv6_tclass(socket, traffic_class.into()),
        None => Ok(()),
    };
}

/// Has the kernel tell the type of service of each datagram, or not.
fn receive_tos(socket: &Socket, receive: bool) -> io::Result<()> {
    if ip_recvtos(socket)? != receive {
        set_ip_recvtos(socket, receive)?;
    }
    match ipv6_recvtclass(socket) {
        Ok(now) if now != receive => Ok(set_ipv6_recvtclass(socket, receive)?),
        _ => Ok(()),
    }
}

/// The byte of the header that has a DSCP in its upper six bits.
fn with_dscp(value: u8) -> u8 {
    value << 2
}
