//! Whether the size of a socket's buffers was set explicitly (`SO_BUF_LOCK`, socket(7)). The kernel does not auto-tune such a
//! buffer.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Which buffers have an explicit size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The send buffer.
    pub send: bool,
    /// The receive buffer.
    pub receive: bool,
}

/// Reads which buffers have an explicit size; reports none on a kernel without the option (before 5.14).
pub fn is_set(socket: &impl AsFd) -> io::Result<Chosen> {
    let mut locks: c_int = 0;
    let mut size = size_of::<c_int>() as u32;
    let (fd, option) = (socket.as_fd().as_raw_fd(), (&raw mut locks).cast());
    // SAFETY: the kernel writes no more than `size` bytes, which is the size of an `int`.
    match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_BUF_LOCK, option, &raw mut size) } {
        // `SOCK_SNDBUF_LOCK` is 1 and `SOCK_RCVBUF_LOCK` is 2 (linux/socket.h).
        0 => Ok(Chosen { send: locks & 1 != 0, receive: locks & 2 != 0 }),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                Ok(Chosen { send: false, receive: false })
            }
            error => Err(error),
        },
    }
}

/// Marks which buffers have an explicit size. Does nothing on a kernel without the option.
pub fn set(socket: &impl AsFd, chosen: &Chosen) -> io::Result<()> {
    let locks = c_int::from(chosen.send) | c_int::from(chosen.receive) << 1;
    let (fd, option) = (socket.as_fd().as_raw_fd(), (&raw const locks).cast());
    let size = size_of::<c_int>() as u32;
    // SAFETY: the kernel reads an `int`.
    match unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BUF_LOCK, option, size) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn an_explicit_size_differs_from_the_default() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(!chosen.send && !chosen.receive);
        socket.set_recv_buffer_size(65536).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(!chosen.send && chosen.receive);
        socket.set_send_buffer_size(65536).unwrap();
        assert!(is_set(&socket).unwrap().send);
        set(&socket, &Chosen { send: true, receive: false }).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(chosen.send && !chosen.receive);
    }
}
