//! accept4(2) with `SOCK_NONBLOCK`: saves the fcntl(2) that accept(2) would need afterwards.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd},
};

use socket2::{SockAddr, Socket};

/// Accepts a connection. The new socket is non-blocking and close-on-exec.
pub fn accept_nonblocking(listener: BorrowedFd<'_>) -> io::Result<(Socket, SockAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `try_init` passes a buffer for an address and its size, which accept4(2) fills. The new descriptor has no other
    // owner.
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
