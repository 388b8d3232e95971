//! The interface that a socket is bound to, by index (`SO_BINDTOIFINDEX`, Linux 5.0). The kernel accepts an index that no interface has.

use std::{ffi::c_int, io, os::fd::AsFd};

use super::socket_option;

/// An index that no interface has: the kernel counts up from 1.
pub const NO_INTERFACE: c_int = c_int::MAX;

/// Restricts `socket` to packets that arrive on the interface with this index.
///
/// # Errors
/// EPERM without CAP_NET_RAW if the socket is already bound to an interface, or on a kernel before 5.7.
pub fn bind(socket: &impl AsFd, index: c_int) -> io::Result<()> {
    socket_option::set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, index)
}

/// The index of the interface that `socket` is bound to, be it by name, by index or by a link-local address; 0 if it is bound to none.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.0.
pub fn of(socket: &impl AsFd) -> io::Result<u32> {
    socket_option::get(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX).map(c_int::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    /// Clients in the backlog stay there; new clients are refused.
    #[test]
    fn a_socket_bound_to_no_interface_refuses_new_clients() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap();
        assert_eq!(of(&listener).unwrap(), 0);
        bind(&listener, NO_INTERFACE).unwrap();
        assert_eq!(of(&listener).unwrap(), NO_INTERFACE.cast_unsigned());
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(listener.accept().unwrap().1, early.local_addr().unwrap());
    }
}
