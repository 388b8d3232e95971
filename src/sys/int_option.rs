//! Socket options whose value is an `int` (getsockopt(2)), for those that no crate knows.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The size of a value.
const SIZE: libc::socklen_t = size_of::<c_int>() as libc::socklen_t;

/// Reads an option.
///
/// # Errors
/// ENOPROTOOPT or EOPNOTSUPP if the kernel, or this kind of socket, does not have it.
pub(super) fn get(socket: &impl AsFd, level: c_int, option: c_int) -> io::Result<c_int> {
    let (mut value, mut size): (c_int, _) = (0, SIZE);
    let (fd, to) = (socket.as_fd().as_raw_fd(), (&raw mut value).cast());
    // SAFETY: the kernel writes at most `size` bytes to `value`, which has as many.
    match unsafe { libc::getsockopt(fd, level, option, to, &raw mut size) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets an option.
///
/// # Errors
/// As for [`get`], and those of the option.
pub(super) fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let (fd, from) = (socket.as_fd().as_raw_fd(), (&raw const value).cast());
    // SAFETY: the kernel reads `SIZE` bytes of `value`, which has as many.
    match unsafe { libc::setsockopt(fd, level, option, from, SIZE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::unix::net::UnixDatagram};

    use super::*;

    #[test]
    fn what_was_set_is_read() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let read = || get(&socket, libc::SOL_SOCKET, libc::SO_PRIORITY).unwrap();
        assert_eq!(read(), 0);
        set(&socket, libc::SOL_SOCKET, libc::SO_PRIORITY, 6).unwrap();
        assert_eq!(read(), 6);
    }

    #[test]
    fn an_option_that_a_socket_does_not_have_is_an_error() {
        let (socket, _peer) = UnixDatagram::pair().unwrap();
        for error in [
            get(&socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN).unwrap_err(),
            set(&socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1).unwrap_err(),
        ] {
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
        }
    }
}
