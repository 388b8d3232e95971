//! Socket options that no crate knows (getsockopt(2)).

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Reads the beginning of an option's value, as many bytes as `value` has, and returns how many there were.
///
/// # Errors
/// ENOPROTOOPT or EOPNOTSUPP if the kernel, or this kind of socket, does not have it.
pub(super) fn read(socket: &impl AsFd, level: c_int, option: c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut size = value.len() as libc::socklen_t;
    let (fd, to) = (socket.as_fd().as_raw_fd(), value.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `size` bytes to `value`, which has as many, and their number to `size`.
    match unsafe { libc::getsockopt(fd, level, option, to, &raw mut size) } {
        0 => Ok(value.len().min(size as usize)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads an option that is an `int`.
///
/// # Errors
/// As for [`read`].
pub(super) fn get(socket: &impl AsFd, level: c_int, option: c_int) -> io::Result<c_int> {
    let mut value = [0; size_of::<c_int>()];
    read(socket, level, option, &mut value)?;
    Ok(c_int::from_ne_bytes(value))
}

/// Sets an option that is an `int`.
///
/// # Errors
/// As for [`read`], and those of the option.
pub(super) fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let (fd, from, size) =
        (socket.as_fd().as_raw_fd(), (&raw const value).cast(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads `size` bytes of `value`, which has as many.
    match unsafe { libc::setsockopt(fd, level, option, from, size) } {
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
