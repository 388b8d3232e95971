//! Binding a socket to an interface by its number (`SO_BINDTOIFINDEX`, Linux 5.0), which need not be that of an interface there is.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The number of no interface: the kernel counts them up from 1.
pub const NO_INTERFACE: c_int = c_int::MAX;

/// Has the kernel look at `socket` only for what comes in by the interface of that number.
///
/// # Errors
/// EPERM without CAP_NET_RAW where the socket is bound to an interface already, or before Linux 5.7.
pub fn bind(socket: &impl AsFd, index: c_int) -> io::Result<()> {
    let (value, size) = ((&raw const index).cast(), size_of::<c_int>() as u32);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: an `int`, which is only read.
    match unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, value, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    /// Who was let in before waits on; who comes is refused.
    #[test]
    fn a_socket_of_no_interface_is_not_found_any_more() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap();
        bind(&listener, NO_INTERFACE).unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(listener.accept().unwrap().1, early.local_addr().unwrap());
    }
}
