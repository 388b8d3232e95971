//! Socket options, set before bind(2). On Linux an accepted connection inherits them from its listening socket, so they
//! cost nothing for each connection.

use std::{io, net::SocketAddr};

use log::warn;
use socket2::{Domain, Socket, TcpKeepalive};

use crate::{
    config::{self, Address, Host, Keepalive, Protocol},
    guard::{self, Place},
    peer::Peer,
    sys::{
        error_queue,
        socket_filter::{self, Instruction},
    },
};

/// Sets what the configuration asks for on a socket that is to be bound to `place`.
pub fn before_bind(socket: &Socket, settings: &config::Listener, place: &Peer) -> io::Result<()> {
    when_bound(socket, settings, place)?;
    let Peer::Inet(address) = place else { return Ok(()) };
    // On a UDP socket it would let a second daemon take the port without a word (socket(7)).
    if settings.protocol == Protocol::Tcp {
        socket.set_reuse_address(settings.reuse_address)?;
    }
    socket.set_reuse_port(settings.reuse_port)?;
    if !settings.device.is_empty() {
        socket.bind_device(Some(settings.device.as_bytes()))?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(settings.v6_only || also_v4(settings, address.port()))?;
    }
    guard(socket, settings, *address, Whose::Ours)
}

/// Sets what can be set at any time on a socket that is bound to `place`, or is to be.
pub fn when_bound(socket: &Socket, settings: &config::Listener, place: &Peer) -> io::Result<()> {
    if settings.receive_buffer > 0 {
        socket.set_recv_buffer_size(settings.receive_buffer as usize)?;
    }
    if settings.send_buffer > 0 {
        socket.set_send_buffer_size(settings.send_buffer as usize)?;
    }
    let Peer::Inet(address) = place else { return Ok(()) };
    if settings.protocol == Protocol::Tcp {
        socket.set_tcp_nodelay(settings.nodelay)?;
        match settings.keepalive {
            Keepalive::Off => socket.set_keepalive(false)?,
            Keepalive::On => socket.set_keepalive(true)?,
            Keepalive::After(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?,
        }
    }
    if settings.protocol == Protocol::Udp && address.ip().is_unspecified() {
        // The reply is to leave from the address that was asked.
        match Domain::for_address(*address) {
            Domain::IPV6 => {
                nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Ipv6RecvPacketInfo, &true)?
            }
            _ => nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Ipv4PacketInfo, &true)?,
        }
    }
    Ok(())
}

/// Whose a socket is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// We made it.
    Ours,
    /// It was passed to us, and will be to the next one, who may be told otherwise.
    Manager,
}

/// What the kernel does for the guard of a listener: it drops what the datagram alone condemns, and tells what became of answers.
pub fn guard(
    socket: &Socket,
    settings: &config::Listener,
    address: SocketAddr,
    whose: Whose,
) -> io::Result<()> {
    if settings.protocol != Protocol::Udp {
        return Ok(());
    }
    error_queue::enable(socket, address.is_ipv6(), guard::wants_feedback(settings, Place::of(address)))?;
    // The guard decides the same. Without the filter it only has more to do.
    if let Err(error) = filter(socket, &guard::filter(settings).unwrap_or_default(), whose) {
        let name = &settings.name;
        let cure = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "the one that is there is locked, and goes on to drop what it did; restart echod to change that"
            }
            _ => "datagrams are refused without it",
        };
        warn!("listener \"{name}\": cannot attach a socket filter: {error}; {cure}");
    }
    Ok(())
}

/// Puts `program` in the place of what is there.
fn filter(socket: &Socket, program: &[Instruction], whose: Whose) -> io::Result<()> {
    if socket_filter::program(socket)? == program {
        return Ok(());
    }
    match (program, whose) {
        ([], _) => socket_filter::detach(socket),
        (program, Whose::Manager) => socket_filter::attach(socket, program),
        (program, Whose::Ours) => {
            socket_filter::attach(socket, program)?;
            socket_filter::lock(socket)
        }
    }
}

/// Whether the same listener also binds the IPv4 wildcard to this port: then `[::]` must leave IPv4 to it.
fn also_v4(settings: &config::Listener, port: u16) -> bool {
    settings.address.iter().any(|address| {
        matches!(address, Address::Inet { host: Host::Ip(ip), ports }
            if ip.is_ipv4() && ip.is_unspecified() && ports.contains(&port))
    })
}
