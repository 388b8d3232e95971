//! Whether the buffers of a socket have a size that somebody chose (`SO_BUF_LOCK`, socket(7)): the kernel does not let those grow
//! by itself.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Which buffers have a chosen size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// That for sending.
    pub send: bool,
    /// That for receiving.
    pub receive: bool,
}

/// Which buffers have a size that was set; none on a kernel that does not tell (before 5.14).
pub fn is_set(socket: &impl AsFd) -> io::Result<Chosen> {
    let mut locks: c_int = 0;
    let mut size = size_of::<c_int>() as u32;
    let (fd, option) = (socket.as_fd().as_raw_fd(), (&raw mut locks).cast());
    // SAFETY: the kernel writes no more than `size` bytes, which is the size of an `int`.
    match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_BUF_LOCK, option, &raw mut size) } {
        // `SOCK_SNDBUF_LOCK` and `SOCK_RCVBUF_LOCK` of linux/socket.h.
        0 => Ok(Chosen { send: locks & 1 != 0, receive: locks & 2 != 0 }),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                Ok(Chosen { send: false, receive: false })
            }
            error => Err(error),
        },
    }
}

/// Says which buffers have a chosen size. A kernel that does not tell cannot be told either.
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
    fn a_size_that_was_set_is_told_from_the_usual_one() {
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
