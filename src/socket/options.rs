//! Socket options, set before bind(2). On Linux an accepted connection inherits them from its listening socket, so they
//! cost nothing for each connection.

use std::{io, net::SocketAddr};

use log::warn;
use socket2::{Domain, Socket};

use crate::{
    access::guard::{self, AddressScope},
    config::{self, Address, Host, Protocol},
    report::log_event::LogEvent,
    socket::address::Peer,
    sys::{
        buffer_lock::Chosen,
        error_queue, record,
        request_notes::{self, NotedFamily},
        send_buffer,
        socket_filter::{self, Instruction},
    },
};

mod header;
mod mptcp;
mod usual;

pub use header::reflect_dscp;
pub use mptcp::{is_mptcp, new_socket};
pub use usual::Usual;

/// Sets the configured options on a new socket that is to be bound to `place`.
pub fn before_bind(socket: &Socket, settings: &config::Listener, place: &Peer) -> io::Result<()> {
    if let Peer::Inet(address) = place {
        socket.set_reuse_port(settings.reuse_port)?;
        if !settings.device.is_empty() {
            socket.bind_device(Some(settings.device.as_bytes()))?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(is_v6_only(settings, *address))?;
        }
        match address {
            SocketAddr::V4(_) if settings.freebind => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) if settings.freebind => socket.set_freebind_v6(true)?,
            _ => {}
        }
    }
    renew(socket, settings, place, &Usual::of(socket)?)
}

/// Applies the configuration to a socket that is, or is to be, bound to `place`, whatever was set on it before. Options
/// that are left to the kernel become as `usual`.
pub fn renew(socket: &Socket, settings: &config::Listener, place: &Peer, usual: &Usual) -> io::Result<()> {
    let config::Listener { receive_buffer, send_buffer, .. } = *settings;
    usual.free_buffers(socket, Chosen { receive: receive_buffer == 0, send: send_buffer == 0 })?;
    if receive_buffer > 0 {
        socket.set_recv_buffer_size(receive_buffer as usize)?;
    }
    if send_buffer > 0 {
        socket.set_send_buffer_size(send_buffer as usize)?;
        if settings.protocol == Protocol::UnixDatagram {
            send_buffer::leave_room(socket)?;
        }
    }
    note_requests(socket, settings, place);
    if settings.protocol == Protocol::UnixSeqpacket {
        record::mark(socket)?;
    }
    let Peer::Inet(address) = place else { return Ok(()) };
    if settings.protocol == Protocol::Tcp {
        // MPTCP has no urgent data.
        mptcp::unless_mptcp(socket, socket.set_out_of_band_inline(true))?;
        socket.set_tcp_nodelay(settings.nodelay)?;
        usual.probe(socket, settings.keepalive)?;
        // On a UDP socket it would let a second daemon take the port unnoticed (socket(7)).
        socket.set_reuse_address(settings.reuse_address)?;
    }
    usual.header.map_or(Ok(()), |header| header.set(socket, settings))?;
    if settings.protocol == Protocol::Udp && address.ip().is_unspecified() {
        // The answer must leave from the address that was asked.
        match Domain::for_address(*address) {
            Domain::IPV6 => {
                nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Ipv6RecvPacketInfo, &true)?;
                // It may be local only by a route. A kernel without the option (before 4.15) wants an interface that
                // has it.
                let _ = socket.set_freebind_v6(true);
            }
            _ => nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Ipv4PacketInfo, &true)?,
        }
    }
    guard(socket, settings, *address)
}

/// Has the kernel note what it knows of each datagram, where the service tells it; and no longer where an earlier one did.
fn note_requests(socket: &Socket, settings: &config::Listener, place: &Peer) {
    if settings.protocol.is_stream() {
        return;
    }
    let family = match place {
        Peer::Inet(SocketAddr::V4(_)) => NotedFamily::V4,
        Peer::Inet(SocketAddr::V6(_)) => NotedFamily::V6,
        Peer::Path(_) | Peer::Abstract(_) | Peer::Unnamed => NotedFamily::Unix,
    };
    let is_wanted = settings.service.describes_requests();
    if is_wanted || request_notes::are_asked(socket, family) {
        request_notes::ask(socket, family, is_wanted);
    }
}

/// Sets the options of a connection that did not inherit them, because it was there before they were set. That of urgent data
/// (SO_OOBINLINE) no stream of unix sockets inherits, nor one of a client without MPTCP that a socket of MPTCP accepted.
pub fn when_accepted(socket: &Socket, protocol: Protocol) {
    // Where this fails, the peer cannot send urgent data, or an empty record may count as the end of file.
    match protocol {
        Protocol::UnixSeqpacket => _ = record::mark(socket),
        _ => _ = socket.set_out_of_band_inline(true),
    }
}

/// Begins to listen, or changes the backlog.
pub fn listen(socket: &Socket, settings: &config::Listener) -> io::Result<()> {
    if !settings.protocol.is_stream() {
        return Ok(());
    }
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    // The kernel limits it to net.core.somaxconn.
    socket.listen(if backlog == 0 { i32::MAX } else { backlog })
}

/// What the kernel does for the guard: the filter drops what the datagram alone condemns, and the error queue reports
/// what became of answers.
fn guard(socket: &Socket, settings: &config::Listener, address: SocketAddr) -> io::Result<()> {
    if settings.protocol != Protocol::Udp {
        return Ok(());
    }
    error_queue::enable(
        socket,
        address.is_ipv6(),
        guard::wants_feedback(settings, AddressScope::of(address)),
    )?;
    // The guard decides the same; without the filter it only has more to do.
    if let Err(error) = filter(socket, &guard::filter(settings, address.is_ipv6()).unwrap_or_default()) {
        let name = &settings.name;
        let cure = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "the one that is there is locked, and goes on to drop what it did; restart echod to change that"
            }
            _ => "datagrams are refused without it",
        };
        warn!(
            event = LogEvent::SocketFilterFailed, listener = name.as_str(), error:% = error;
            "listener \"{name}\": cannot attach a socket filter: {error}; {cure}"
        );
    }
    Ok(())
}

/// Replaces the attached filter by `program`.
fn filter(socket: &Socket, program: &[Instruction]) -> io::Result<()> {
    if socket_filter::program(socket)? == program {
        return Ok(());
    }
    match program {
        [] => socket_filter::detach(socket),
        program => socket_filter::attach(socket, program),
    }
}

/// Locks the filter of a socket that no other daemon will configure. Without a filter there is nothing to lock: one may
/// come with a reload.
pub fn lock_filter(socket: &Socket) -> io::Result<()> {
    if socket_filter::program(socket)?.is_empty() {
        return Ok(());
    }
    socket_filter::lock(socket)
}

/// The key in which a socket bound to `place` differs from what `settings` ask for, if that can be set only before
/// bind(2).
///
/// # Errors
/// ENODEV if the interface that it is bound to is gone.
pub fn misfit(
    socket: &Socket,
    settings: &config::Listener,
    place: &Peer,
) -> io::Result<Option<&'static str>> {
    let Peer::Inet(inet) = place else { return Ok(None) };
    // Bound to one address, it serves only that one, whatever was set.
    if inet.is_ipv6() && inet.ip().is_unspecified() && socket.only_v6()? != is_v6_only(settings, *inet) {
        return Ok(Some("v6-only"));
    }
    // A link-local address includes its interface.
    let is_scoped = matches!(inet, SocketAddr::V6(address) if address.scope_id() != 0);
    if mptcp::is_misfit(socket, settings)? {
        return Ok(Some("mptcp"));
    }
    let has_device = (is_scoped && settings.device.is_empty())
        || socket.device()?.unwrap_or_default() == settings.device.as_bytes();
    Ok(if has_device { None } else { Some("device") })
}

/// Whether a socket of IPv6 at `place` leaves IPv4 to others: as `v6-only` says, or because `place` is `[::]` and the same
/// listener also binds the IPv4 wildcard to this port.
pub fn is_v6_only(settings: &config::Listener, place: SocketAddr) -> bool {
    let is_v4_wildcard = |address: &Address| {
        matches!(address, Address::Inet { host: Host::Ip(ip), ports }
            if ip.is_ipv4() && ip.is_unspecified() && ports.contains(&place.port()))
    };
    settings.v6_only || (place.ip().is_unspecified() && settings.address.iter().any(is_v4_wildcard))
}
