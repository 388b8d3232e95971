//! Sockets of MPTCP (RFC 8684): the kernel makes them where it can, and lets them have fewer options than those of TCP.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config;

/// A new socket. Where the kernel has no MPTCP, one of TCP takes its place.
pub fn new_socket(domain: Domain, kind: Type, settings: &config::Listener) -> io::Result<Socket> {
    if settings.mptcp {
        match Socket::new(domain, kind, Some(Protocol::MPTCP)) {
            Err(error) if is_missing(&error) => {}
            made => return made,
        }
    }
    Socket::new(domain, kind, None)
}

/// Whether `socket` is one of MPTCP.
pub fn is_mptcp(socket: &Socket) -> bool {
    socket.protocol().is_ok_and(|protocol| protocol == Some(Protocol::MPTCP))
}

/// Whether `socket` is another one than [`new_socket`] would make.
pub(super) fn is_misfit(socket: &Socket, settings: &config::Listener) -> io::Result<bool> {
    if settings.protocol != config::Protocol::Tcp || is_mptcp(socket) == settings.mptcp {
        return Ok(false);
    }
    let new = new_socket(socket.domain()?, Type::STREAM, settings)?;
    Ok(is_mptcp(&new) != is_mptcp(socket))
}

/// The kernel was built without it (EPROTONOSUPPORT), is older than it (Linux 5.6; EINVAL), or has it switched off (ENOPROTOOPT).
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL | libc::ENOPROTOOPT))
}

/// What a socket of MPTCP may not have is as the kernel has it there.
pub(super) fn unless_mptcp(socket: &Socket, set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) && is_mptcp(socket) => Ok(()),
        set => set,
    }
}
