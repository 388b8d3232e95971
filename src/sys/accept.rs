//! accept4(2) with a new socket that does not block, in one system call.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd},
};

use socket2::{SockAddr, Socket};

/// Accepts a connection; its socket is non-blocking and not inherited by other programs.
pub fn accept_nonblocking(listener: BorrowedFd<'_>) -> io::Result<(Socket, SockAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `try_init` gives a buffer for an address and its size, which accept4(2) fills; the new descriptor is owned
    // by nobody else.
    #[allow(clippy::multiple_unsafe_ops_per_block)]
    unsafe {
        SockAddr::try_init(|address, size| {
            match libc::syscall(libc::SYS_accept4, listener.as_raw_fd(), address, size, flags) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Socket::from_raw_fd(fd as _)),
            }
        })
    }
}
