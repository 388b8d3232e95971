//! The interface that a socket is bound to, by index (`SO_BINDTOIFINDEX`, Linux 5.0). The kernel accepts an index that no interface has.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// An index that no interface has: the kernel counts up from 1.
pub const NO_INTERFACE: c_int = c_int::MAX;

/// Restricts `socket` to packets that arrive on the interface with this index.
///
/// # Errors
/// EPERM without CAP_NET_RAW if the socket is already bound to an interface, or on a kernel before 5.7.
pub fn bind(socket: &impl AsFd, index: c_int) -> io::Result<()> {
    let (value, size) = ((&raw const index).cast(), size_of::<c_int>() as u32);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one `int`.
    match unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, value, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The index of the interface that `socket` is bound to, be it by name, by index or by a link-local address; 0 if it is bound to none.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.0.
pub fn of(socket: &impl AsFd) -> io::Result<u32> {
    let (mut index, mut size) = (0_u32, size_of::<c_int>() as u32);
    let (fd, value) = (socket.as_fd().as_raw_fd(), (&raw mut index).cast());
    // SAFETY: the kernel writes at most `size` bytes, which is the size of an `int`.
    match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, value, &raw mut size) } {
        0 => Ok(index),
        _ => Err(io::Error::last_os_error()),
    }
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
